"""The files of an exported run, beside the recipe.

verl.yaml            verl's configuration, on top of its own defaults
loop.yaml            the agent loop: our episode
train.parquet        a row a problem, in the order of the steps; evaluation.parquet: a row an episode
launch.sh            starts Ray and verl, on one node or on each of several
requirements.txt     for every node
README.md            what all this is, how it is started, and what is different
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from mentor_kit.core.frozen_model import Json
from mentor_kit.recipe.engines import EngineRun, EpisodeRow
from mentor_kit.recipe.yaml_writer import to_yaml
from mentor_kit.runs.files import write_text
from mentor_kit.utils.version import __version__
from mentor_kit_verl.options import VERSION

LOOP = "- name: mentorkit\n  _target_: mentor_kit_verl.loop.MentorLoop\n"

#: The release of Ray that was tried with that of verl.
RAY = "2.60.*"


def write_configuration(folder: Path, settings: dict[str, Json]) -> None:
    """Write `verl.yaml` and `loop.yaml`."""
    tree: dict[str, Any] = {
        "defaults": ["ppo_trainer", "_self_"],
        "hydra": {"searchpath": ["pkg://verl.trainer.config"], "run": {"dir": "${oc.env:MENTORKIT_RUN}/hydra"}},
    }
    for key, value in settings.items():
        *path, last = key.split(".")
        node = tree
        for step in path:
            node = node.setdefault(step, {})
        node[last] = value
    heading = f"# verl {VERSION}; `launch.sh KEY=VALUE …` changes a setting for one launch\n"
    write_text(folder / "verl.yaml", heading + to_yaml(tree))
    write_text(folder / "loop.yaml", LOOP)


def write_rows(folder: Path, rows: Sequence[EpisodeRow]) -> None:
    """Write the parquet files that verl's data set reads."""
    _write_parquet(folder / "train.parquet", (row for row in rows if not row.evaluation))
    if any(row.evaluation for row in rows):
        _write_parquet(folder / "evaluation.parquet", (row for row in rows if row.evaluation))


def _write_parquet(file: Path, rows: Iterable[EpisodeRow]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([_row(index, row) for index, row in enumerate(rows)])
    pq.write_table(table, file)


def _row(index: int, row: EpisodeRow) -> dict[str, Json]:
    """A row; verl itself needs the first columns, and our loop reads `mentorkit` alone."""
    problem = row.problem
    source = f"{row.evaluation}/{'greedy' if row.greedy else 'sampled'}" if row.evaluation else problem.split
    return {
        "data_source": source,
        "agent_name": "mentorkit",
        "prompt": [{"role": str(message.role), "content": message.content} for message in problem.opening()],
        "reward_model": {"style": "rule", "ground_truth": problem.answer},
        "extra_info": {"index": index, "id": problem.id},
        # a string: columns of records are padded to one another's keys
        "mentorkit": row.to_json(),
    }


def write_requirements(folder: Path) -> None:
    """Write what every node needs, with its versions."""
    lines = [
        "# Python 3.11 or 3.12, CUDA: pip install -r requirements.txt, on every node",
        f"verl[vllm]=={VERSION}",
        f"ray[default]=={RAY}",
        f"mentor-kit=={__version__}",
        "# and the packages of the recipe's own plugins, tools and tasks",
    ]
    write_text(folder / "requirements.txt", "\n".join(lines) + "\n")


def write_launch_script(folder: Path, run: EngineRun) -> None:
    """Write `launch.sh`."""
    text = _template("launch.sh")
    text = text.replace("@NODES@", str(run.cluster.nodes)).replace("@GPUS@", str(run.cluster.gpus))
    write_text(folder / "launch.sh", text)


def write_readme(folder: Path, run: EngineRun, differences: Sequence[str]) -> None:
    """Write the folder's page."""
    nodes, gpus = run.cluster.nodes, run.cluster.gpus
    several = (
        f"On each of {nodes} machines with {gpus} GPUs, with this folder at the same path (a shared file system):\n\n"
        "    bash launch.sh head           # on one\n    bash launch.sh worker HEAD    # on each other one\n\n"
        "Under Slurm: `srun --nodes=N --ntasks-per-node=1 bash launch.sh slurm`.\n"
    )
    one = f"On a machine with {gpus} GPUs:\n\n    bash launch.sh\n"
    text = _template("README.md").format(
        name=run.recipe.name,
        version=VERSION,
        start=several if nodes > 1 else one,
        differences="\n".join(f"- {sentence}" for sentence in differences),
    )
    write_text(folder / "README.md", text)


def _template(name: str) -> str:
    return (files("mentor_kit_verl") / "templates" / name).read_text(encoding="utf-8")
