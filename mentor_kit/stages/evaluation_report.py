"""The report on the episodes of one split: accuracy, pass@k, tool use and reward, each with what it is compared by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mentor_kit.core.frozen_model import Json
from mentor_kit.core.task import Problem
from mentor_kit.rl.reward import Scored
from mentor_kit.stages.eval_metrics import accuracy, means_by_problem, pass_at, powers_of_two, rows
from mentor_kit.stages.evaluation import EvaluationResult
from mentor_kit.stages.evaluation_episodes import EvaluationEpisodes
from mentor_kit.stages.evaluation_plan import SplitPlan
from mentor_kit.stages.experiment import Experiment
from mentor_kit.stages.metrics import reward_metrics, tool_use, trajectory_metrics
from mentor_kit.stages.tool_strategy import strategy_metrics


def split_result(
    experiment: Experiment,
    plan: SplitPlan,
    problems: Sequence[Problem],
    episodes: EvaluationEpisodes,
    scored: Sequence[Scored] | None = None,
) -> EvaluationResult:
    """The report on a split's episodes, their rewards, and a row for each episode.

    Args:
        experiment: with the demonstrations of the problems.
        plan: of the evaluation.
        problems: of the split.
        episodes: of the problems.
        scored: the same with their rewards, greedy ones first, where they have been scored already.
    """
    clusters = {problem.id: problem.group if plan.clusters == "group" else problem.id for problem in problems}
    scored = experiment.score_for_report(episodes.all, problems) if scored is None else scored
    rewarded = [problem.id for problem in problems if experiment.has_reward(problem.id)]
    report: dict[str, Json] = {"split": plan.split, "problems": len(problems)}
    report |= _accuracy(experiment, plan, episodes, clusters)
    report |= _tool_use(experiment, episodes)
    report |= _reward(scored[: len(episodes.main)], rewarded)
    if experiment.agent is not None and (account := experiment.agent.account()):
        report["account"] = account
    report["groups"] = _by_group(problems, episodes, clusters)
    report["outcomes"] = means_by_problem(episodes)
    return EvaluationResult(report, scored, rows(episodes, scored, problems, experiment.demonstrations, rewarded))


def checkpoint_metrics(reports: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Evaluation reports as flat metrics, such as `out-of-domain/greedy`, by which the best checkpoint is chosen."""
    found = {}
    for name, report in reports.items():
        if "greedy" in report:
            found[f"{name}/greedy"] = float(report["greedy"]["accuracy"])
        if "sampled" in report:
            found[f"{name}/sampled"] = float(report["sampled"]["accuracy"])
        if "similarity" in report:
            found[f"{name}/similarity"] = float(report["similarity"])
    return found


def _accuracy(
    experiment: Experiment, plan: SplitPlan, episodes: EvaluationEpisodes, clusters: Mapping[str, str]
) -> dict[str, Json]:
    found: dict[str, Json] = {}
    if experiment.agent is None:
        found["greedy"] = accuracy(episodes.greedy, clusters)
    if episodes.sampled:
        found["sampled"] = accuracy(episodes.sampled, clusters) | {"samples": plan.samples}
        found["pass_at"] = pass_at(episodes.sampled, plan.pass_at or powers_of_two(plan.samples), clusters)
    return found


def _tool_use(experiment: Experiment, episodes: EvaluationEpisodes) -> dict[str, Json]:
    metrics = trajectory_metrics(episodes.main, experiment.demonstrations)
    found: dict[str, Json] = {name: value for name, value in metrics.items() if name != "accuracy"}
    found |= tool_use(episodes.main, experiment.demonstrations)
    found |= strategy_metrics(episodes.main, experiment.demonstrations)
    if episodes.greedy and episodes.sampled:
        sampled = trajectory_metrics(episodes.sampled, experiment.demonstrations)
        found |= {f"{name}_sampled": sampled[name] for name in ("similarity", "ended_rate") if name in sampled}
    return found


def _reward(scored: Sequence[Scored], rewarded: Sequence[str]) -> dict[str, Json]:
    """The mean reward of the episodes that it applies to; nothing where it applies to none."""
    found = [item for item in scored if item.trajectory.problem_id in set(rewarded)]
    return {"reward": reward_metrics(found)["reward"], "reward_problems": len(rewarded)} if found else {}


def _by_group(
    problems: Sequence[Problem], episodes: EvaluationEpisodes, clusters: Mapping[str, str]
) -> dict[str, Json]:
    """Accuracy by the problems' own groups, where the split has more than one."""
    groups = {problem.id: problem.group for problem in problems}
    names = sorted(set(groups.values()))
    if len(names) < 2:
        return {}
    # inside a group that is a cluster, its problems are the clusters
    inside = clusters if len(set(clusters.values())) > len(names) else {name: name for name in clusters}
    found: dict[str, Json] = {}
    for name in names:
        found[name] = {
            kind: accuracy([t for t in trajectories if groups[t.problem_id] == name], inside)
            for kind, trajectories in (("greedy", episodes.greedy), ("sampled", episodes.sampled))
            if trajectories
        }
    return found
