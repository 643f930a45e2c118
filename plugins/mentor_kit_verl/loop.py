"""mentor-kit's episode as verl's agent loop: parser, tools, task, limits, tokens and reward are the recipe's.

verl makes a loop for every trajectory; what is heavy is kept for the process (`player_of`). The folder of the exported
run is that of `agent_loop_config_path`.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopMetrics, AgentLoopOutput

from mentor_kit.backend.sampling import Completion, SampleRequest
from mentor_kit.recipe.engines import EpisodeRow, PlayedEpisode
from mentor_kit.recipe.engines.episodes import EpisodePlayer, player_of
from mentor_kit.utils.randomness import derive_seed
from mentor_kit_verl.record import record


class ServerSampler:
    """Samples by verl's servers: token ids in, token ids and their log-probabilities out.

    Args:
        client: verl's, with a coroutine `generate`.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._session = uuid4().hex
        """By which verl keeps an episode on one server, whose prefix cache has its earlier turns."""
        self.seconds = 0.0
        """Spent waiting for the servers."""
        self.versions: list[int] = []
        """Of the weights, a turn each."""

    def open(self, session: str) -> None:
        """Nothing to do: servers know no sessions."""

    def close(self, session: str) -> None:
        """Nothing to do: servers know no sessions."""

    def cancel(self, request_id: str) -> None:
        """Nothing to do: verl aborts requests itself."""

    def drawn(self, request_id: str) -> tuple[int, ...]:
        """Empty: whole completions are known alone."""
        return ()

    async def sample(self, request: SampleRequest) -> Completion:
        started = time.perf_counter()
        found = await self._client.generate(
            request_id=self._session,
            prompt_ids=list(request.context),
            sampling_params={
                "temperature": request.temperature,
                "top_p": request.top_p,
                "top_k": request.top_k or -1,
                "logprobs": True,
                "max_tokens": request.max_new_tokens,
                "stop_token_ids": sorted(request.stop_ids),
                "ignore_eos": True,
                # a server's random numbers begin anew with every request
                "seed": derive_seed(request.seed, len(request.context)) % 2**63,
            },
        )
        self.seconds += time.perf_counter() - started
        ids = tuple(found.token_ids)
        version = int(found.extra_fields.get("global_steps") or 0)
        self.versions.append(version)
        is_whole = bool(ids) and ids[-1] in request.stop_ids
        log_probs = tuple(found.log_probs or [0.0] * len(ids))
        return Completion(request.id, ids, log_probs, "stop" if is_whole else "length", version)


class MentorLoop(AgentLoopBase):  # type: ignore[misc]
    """One trajectory of verl's: an episode of the exported recipe."""

    def __init__(self, trainer_config: Any, server_manager: Any, **_: Any) -> None:
        # not verl's own: it makes a builder of chat tokens for every trajectory, which has no use here
        rollout = trainer_config.config.actor_rollout_ref.rollout
        self._client = server_manager
        self._context = int(rollout.prompt_length + rollout.response_length)
        self._folder = Path(rollout.agent.agent_loop_config_path).parent

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> AgentLoopOutput:
        """Play a row's episode; temperature, top-p and top-k are the recipe's, as is the reward."""
        started, player, sampler = time.perf_counter(), player_of(self._folder), ServerSampler(self._client)
        played = await player.play(
            EpisodeRow.from_json(row["mentorkit"]),
            sampler,
            step=int(row.get("global_steps", 1)),
            index=int(row.get("session_id", 0)),
            context=self._context,
        )
        record(self._folder, played)
        return _output(player, played, sampler, time.perf_counter() - started)


def _output(player: EpisodePlayer, played: PlayedEpisode, sampler: ServerSampler, seconds: float) -> AgentLoopOutput:
    """What verl takes: the tokens as they were sampled and inserted, their mask, and the reward."""
    trajectory, reward = played.scored.trajectory, played.scored.reward
    trace = trajectory.tokens
    prompt, ids, mask, log_probs = (
        ((), (), (), ())
        if trace is None
        else (
            trace.prompt_ids,
            trace.ids,
            trace.mask,
            trace.log_probs,
        )
    )
    if not ids:
        # verl puts the reward on the last token, and has no sequences without one
        ids, mask, log_probs = (min(player.format.stop_ids),), (0,), (0.0,)
    if not player.is_trained(trajectory):
        mask = (0,) * len(ids)
    return AgentLoopOutput(
        prompt_ids=list(prompt),
        response_ids=list(ids),
        response_mask=list(mask),
        response_logprobs=list(log_probs),
        reward_score=reward.total,
        num_turns=len(trajectory.messages),
        metrics=AgentLoopMetrics(generate_sequences=sampler.seconds, tool_calls=seconds - sampler.seconds),
        extra_fields={
            "reward_extra_info": {"acc": float(trajectory.correct)},
            "min_global_steps": min(sampler.versions, default=None),
            "max_global_steps": max(sampler.versions, default=None),
            "turn_scores": [],
            "tool_rewards": [],
        },
    )
