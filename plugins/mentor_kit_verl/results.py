"""What a verl run left in its folder: the metrics of its logger, the episodes, and the merged final weights."""

from __future__ import annotations

import json
from pathlib import Path

from mentor_kit.core.errors import DataError
from mentor_kit.recipe.engines import EngineResults, TrainingStep
from mentor_kit.runs.jsonl import read_lines
from mentor_kit_verl.record import EPISODES, read_episodes

#: verl's metrics, and their names here.
NAMES = {
    "actor/pg_loss": "loss",
    "actor/grad_norm": "gradient_norm",
    "actor/kl_loss": "kl",
    "actor/pg_clipfrac": "clipped",
    "actor/entropy": "entropy",
    "timing_s/gen": "seconds_rollout",
    "timing_s/update_actor": "seconds_update",
    "timing_s/step": "seconds",
}
#: The folder that `launch.sh` merges the final weights into, and the file that says of which step they are.
FINAL, FINAL_STEP = "final", "step.txt"


def read_results(folder: Path) -> EngineResults:
    """Return what the run left.

    Raises:
        DataError: it has left nothing, or a file cannot be read.
    """
    steps, episodes = read_metrics(folder / "metrics"), read_episodes(folder)
    if not steps and not episodes:
        raise DataError(
            f"{folder} has no results: there are no files in metrics/ and {EPISODES}/",
            hint="run its launch.sh first, and give the folder that it ran in",
        )
    final = folder / FINAL
    adapter = final / "lora_adapter"
    has_weights = any(final.glob("*.safetensors"))
    return EngineResults(
        steps,
        episodes,
        student=final if has_weights and not adapter.is_dir() else None,
        adapter=adapter if adapter.is_dir() else None,
        weights_step=_final_step(final) if has_weights or adapter.is_dir() else 0,
    )


def read_metrics(folder: Path) -> list[TrainingStep]:
    """The metrics of every training step, those of a step that was done twice as they were the last time.

    Raises:
        DataError: a line is none of verl's.
    """
    found: dict[int, TrainingStep] = {}
    # a file a launch, named by its time
    for file in sorted(folder.glob("*.jsonl")):
        for number, line in enumerate(read_lines(file), 1):
            try:
                written = json.loads(line)
                step, values = int(written["step"]), dict(written["data"])
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{file}:{number}: no metrics of verl's: {error!r}") from None
            if "training/global_step" in values:  # others are of evaluations
                logged = {name: float(value) for name, value in values.items() if _is_number(value)}
                metrics = {ours: logged[name] for name, ours in NAMES.items() if name in logged}
                found[step] = TrainingStep(step, metrics, logged)
    return [found[step] for step in sorted(found)]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _final_step(final: Path) -> int:
    """The step of the merged weights.

    Raises:
        DataError: the file that says so is missing, or has no number in it.
    """
    try:
        return int((final / FINAL_STEP).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{final / FINAL_STEP}: expected the step of the final weights: {error}") from None
