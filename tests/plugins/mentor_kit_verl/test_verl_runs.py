"""Export and import: the folder's files, and what comes back is what was played. verl is not needed."""

from __future__ import annotations

import asyncio
import json
import subprocess
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mentor_kit_verl.record import read_episodes, record
from verl_exports import exported, registry_with_verl

from mentor_kit import api
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import DataError, RecipeError, UsageError
from mentor_kit.recipe.assembly import assemble
from mentor_kit.recipe.engines import EpisodeRow, PlayedEpisode
from mentor_kit.recipe.engines.episodes import EpisodePlayer, player_of
from mentor_kit.recipe.faults import RecipeFaults
from mentor_kit.recipe.loading import load_recipe
from mentor_kit.report.compare import compare
from mentor_kit.runs import Run
from mentor_kit.stages import Experiment


def rows_of(folder: Path, name: str) -> list[EpisodeRow]:
    import pyarrow.parquet as pq

    return [EpisodeRow.from_json(text) for text in pq.read_table(folder / name)["mentorkit"].to_pylist()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("export") / "run"
    exported(found)
    return found


@pytest.fixture(scope="module")
def experiment(folder: Path) -> Experiment:
    return assemble(load_recipe(folder / "recipe.yaml"), registry_with_verl())


@pytest.fixture(scope="module")
def played(folder: Path, experiment: Experiment) -> list[PlayedEpisode]:
    """Every episode of the run, played on our engine."""
    player = player_of(folder)

    async def play_all() -> list[PlayedEpisode]:
        training, evaluation = rows_of(folder, "train.parquet"), rows_of(folder, "evaluation.parquet")
        wanted = [(row, place // 4 + 1, index) for place, row in enumerate(training) for index in range(2)]
        wanted += [(row, step, 0) for step in (0, 2) for row in evaluation]
        found: list[PlayedEpisode] = []
        for _, together in groupby(wanted, key=lambda one: (one[1], one[0].evaluation, one[0].greedy)):
            sampler = experiment.policy.sampler(deterministic=False)
            found += await asyncio.gather(
                *(player.play(row, sampler, step=step, index=index, context=512) for row, step, index in together)
            )
        return found

    return asyncio.run(play_all())


@pytest.fixture(scope="module")
def trained(
    folder: Path, played: list[PlayedEpisode], experiment: Experiment, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """The imported run, whose final weights are the student's own."""
    for episode in played:
        record(folder, episode)
    lines: list[dict[str, Any]] = [{"step": 0, "data": {"val-core/in-domain/acc/mean@1": 0.5}}]
    lines += [
        {"step": step, "data": {"training/global_step": step, "actor/pg_loss": loss, "actor/grad_norm": 1.5}}
        for step, loss in ((1, 0.25), (1, 0.5), (2, -0.125))
    ]
    (folder / "metrics").mkdir()
    (folder / "metrics" / "20261129-120000.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    experiment.export(folder / "final")
    (folder / "final" / "step.txt").write_text("2\n")
    return api.import_run(folder, output=tmp_path_factory.mktemp("runs"), registry=registry_with_verl())


def test_the_folder_is_complete_and_names_no_path_of_itself(folder: Path) -> None:
    assert {file.name for file in folder.iterdir()} >= {
        *("recipe.yaml", "verl.yaml", "loop.yaml", "train.parquet", "evaluation.parquet", "launch.sh"),
        *("requirements.txt", "README.md", "problems.jsonl", "demonstrations.jsonl", "export.json", "student"),
    }
    for name in ("verl.yaml", "loop.yaml", "launch.sh", "README.md"):
        assert str(folder) not in (folder / name).read_text(encoding="utf-8")
    assert subprocess.run(["bash", "-n", folder / "launch.sh"]).returncode == 0


def test_rows_are_the_problems_that_a_run_here_takes(folder: Path, experiment: Experiment) -> None:
    rows = rows_of(folder, "train.parquet")
    assert [row.problem for row in rows] == experiment.problems("train", experiment.seed, 8)
    assert all(row.demonstrations for row in rows)
    evaluation = rows_of(folder, "evaluation.parquet")
    assert len(evaluation) == 3 * 2 + 1 * 2
    assert sum(row.greedy for row in evaluation) == 4


def test_episodes_are_those_of_a_run_here(played: list[PlayedEpisode], folder: Path, experiment: Experiment) -> None:
    """The same seeds, so the same tokens and rewards on the same engine."""
    rows = rows_of(folder, "train.parquet")[4:]
    problems = [row.problem for row in rows]
    for row in rows:
        for demonstration in row.demonstrations:
            experiment.demonstrations.add(demonstration)
    native = experiment.collect_rollouts(problems, 2, experiment.sampling, "0-grpo", 2, 0)
    expected = experiment.score(native, problems)
    found = [episode.scored for episode in played if episode.step == 2 and not episode.evaluation]
    assert [item.trajectory.messages for item in found] == [item.trajectory.messages for item in expected]
    assert [item.reward for item in found] == [item.reward for item in expected]


def test_the_player_needs_no_teacher(folder: Path) -> None:
    loaded = load_recipe(folder / "recipe.yaml", {"teacher": {"use": "openai", "with": {"model": "none"}}})
    player = EpisodePlayer(loaded, registry=registry_with_verl())
    assert player.components.teacher is None
    player.close()


def test_an_episode_that_was_played_again_counts_once(played: list[PlayedEpisode], tmp_path: Path) -> None:
    first = played[0]
    again = first.model_copy(update={"scored": first.scored.model_copy(update={"advantage": 1.0})})
    for episode in (first, again):
        record(tmp_path, episode)
    assert [episode.scored.advantage for episode in read_episodes(tmp_path)] == [1.0]


def test_an_imported_run_has_what_was_played(trained: Run, played: list[PlayedEpisode]) -> None:
    assert trained.outcome == "done"
    steps = trained.steps
    assert [step["loss"] for step in steps] == [0.5, -0.125]
    for step in (1, 2):
        rewards = [one.scored.reward.total for one in played if one.step == step and not one.evaluation]
        assert steps[step - 1]["reward"] == pytest.approx(np.mean(rewards))
    kept = [item for one in played if one.step == 1 for item in [one.scored]]
    assert {item.trajectory.id for item in kept} == {item.trajectory.id for item in trained.rollouts("0-grpo", 1)}
    greedy = [
        one.scored.trajectory.correct
        for one in played
        if (one.step, one.evaluation, one.greedy) == (2, "in-domain", True)
    ]
    last = [report for report in trained.evaluations if (report["plan"], report["step"]) == ("in-domain", 2)]
    assert [report["greedy"]["accuracy"] for report in last] == [np.mean(greedy)]


def test_an_imported_run_is_reported_compared_and_exported(trained: Run, tmp_path: Path) -> None:
    api.report(trained, tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size > 10_000
    assert compare([trained]) is not None
    student = api.export(trained, tmp_path / "student", registry=registry_with_verl())
    assert (student / "model.safetensors").is_file()
    assert (trained.path / "student" / "model.safetensors").is_file()


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    exported(tmp_path / "run")
    with pytest.raises(DataError, match=r"launch\.sh"):
        api.import_run(tmp_path / "run", output=tmp_path / "runs", registry=registry_with_verl())
    with pytest.raises(UsageError):
        api.import_run(tmp_path, output=tmp_path / "runs", registry=registry_with_verl())
    assert not (tmp_path / "runs").exists()


def test_all_faults_are_named_at_once_and_nothing_is_written(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "extends: quickstart\n"
        "rollout: {deterministic: true}\n"
        "train: [{use: grpo, with: {steps: 2, permute_rewards: true, optimizer: {use: muon, lr: 0.1}}}]\n"
    )
    with pytest.raises(RecipeFaults) as caught:
        api.export_run(recipe, tmp_path / "run", engine="verl", registry=registry_with_verl())
    assert [fault.place.line for fault in caught.value.faults] == [2, 3, 3]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("arguments", [{"engine": "vrl"}, {"engine": "verl", "gpus": 0}])
def test_wrong_arguments(arguments: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises((UsageError, RecipeError)):
        api.export_run("quickstart", tmp_path / "run", registry=registry_with_verl(), **arguments)


def test_options_of_the_engine_are_checked(tmp_path: Path) -> None:
    spec = ComponentSpec(use="verl", options={"tensor_paralel": 2})
    with pytest.raises(UsageError, match="tensor_parallel"):
        api.export_run("quickstart", tmp_path / "run", engine=spec, registry=registry_with_verl())
