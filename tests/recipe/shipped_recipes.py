"""What lets every shipped recipe be looked at without a hub, a server, a trained model and data."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

from mentor_kit.core.component import ComponentSpec
from mentor_kit.hooks import BuildContext
from mentor_kit.hooks.loader import default_registry

sys.path.append(str(Path(__file__).parents[1] / "plugins" / "mentor_kit_data"))
from authors_sample import write_sample


def tiny_model() -> str:
    """The folder of the student that ships."""
    registry = default_registry()
    return str(registry.build("students", ComponentSpec(use="tiny-student"), BuildContext(registry=registry)))


def write_data(folder: Path) -> Path:
    """What recipes look for in `folder`: the authors' files, and a set of each benchmark."""
    write_sample(folder)
    rows = [{"id": 1, "problem": "What is $30 + 3$?", "answer": "33"}]
    (folder / "aime24.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    hop = {"_id": "a", "question": "Where?", "answer": "Rome", "type": "bridge", "context": [["Rome", ["A city."]]]}
    (folder / "hotpotqa.json").write_text(json.dumps([hop]))
    return folder


#: The settings of recipes whose names match.
STAND_INS: dict[str, Callable[[Path], list[str]]] = {
    r"(paper|cluster)/(?!evaluate).*": lambda data: [f"folder={data}"],
    r"paper/.*/sft": lambda data: ["teacher.with.path=train.parquet"],
    r"paper/evaluate-maths": lambda data: [
        f"folder={data}", "task.sets={aime24: aime24.jsonl}", "evaluate.on=[{split: aime24, problems: 1}]",
    ],
    r"paper/evaluate-search": lambda data: [
        f"folder={data}", "task.sets={hotpotqa: hotpotqa.json}", "evaluate.on=[{split: hotpotqa, problems: 1}]",
    ],
    r"miniature/.*/(distill|mentor-sod)": lambda data: [f"train.0.teacher.model={tiny_model()}"],
    r"(paper|laptop|served|gpu|cluster|smollm2)/.*": lambda data: [
        f"student.model={tiny_model()}", "student.chat_template=null",
    ],
}  # fmt: skip


def settings_of(name: str, data: Path) -> list[str]:
    """The settings with which a shipped recipe needs nothing else."""
    return [one for pattern, make in STAND_INS.items() if re.fullmatch(pattern, name) for one in make(data)]
