from __future__ import annotations

import json
import re
from pathlib import Path

from mentor_kit_teachers.records import read_recordings

PAGE = Path(__file__).parents[3] / "docs" / "demonstrations.md"


def test_the_documented_line_is_read(tmp_path):
    (block,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    file = tmp_path / "demonstrations.jsonl"
    file.write_text(json.dumps(json.loads(block)) + "\n")
    (found,) = read_recordings(file)
    assert found.question == "What is 12 times 7?"
    assert found.demonstration.fault(["multiply"]) is None
    trajectory = found.demonstration.trajectory
    assert trajectory is not None
    assert (trajectory.tools_used, trajectory.final_text) == (("multiply",), "\\boxed{84}")
