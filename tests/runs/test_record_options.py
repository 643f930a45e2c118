from __future__ import annotations

import gzip
import importlib
import json
import sys
from pathlib import Path

import pytest
from run_helpers import Counter, scored

from mentor_kit.core.errors import DataError, MissingError
from mentor_kit.core.trajectory import TokenTrace
from mentor_kit.rl.reward import Scored
from mentor_kit.runs import RecordOptions, Run, RunContext, RunFolder, RunRecorder
from mentor_kit.runs.compression import Compression, compress

TRACE = TokenTrace(prompt_ids=(1, 2), ids=(3, 4), mask=(1, 0), log_probs=(-0.5, 0.0), temperature=1.0)
SUFFIX = {"none": "", "gzip": ".gz", "zstd": ".zst"}
ZSTD = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"


def has_zstd() -> bool:
    try:
        importlib.import_module(ZSTD)
    except ImportError:
        return False
    return True


def with_tokens(number: int) -> Scored:
    made = scored(number).model_copy(update={"advantage": number / 3})
    return made.model_copy(update={"trajectory": made.trajectory.model_copy(update={"tokens": TRACE})})


def train(folder: RunFolder, options: RecordOptions, steps: int, checkpoint: bool = True) -> None:
    with RunRecorder(folder, options) as recorder:
        recorder.start(Counter(), {}, ["0-grpo"])
        context = RunContext(recorder, "0-grpo", is_first=True)
        for step in range(int((context.resumed() or {"step": 0})["step"]) + 1, steps + 1):
            context.write_rollouts(step, [with_tokens(step), with_tokens(step + 1)])
            context.emit("step", step=step, steps=steps)
            if checkpoint and step % 2 == 0:
                context.checkpoint(step, {"step": step})
        context.write_evaluation("0-grpo-000004-dev", {"step": 4, "stage": "0-grpo"}, [with_tokens(9)])


@pytest.mark.parametrize("tokens", [True, False])
@pytest.mark.parametrize(
    "compression",
    ["none", "gzip", pytest.param("zstd", marks=pytest.mark.skipif(not has_zstd(), reason=f"no {ZSTD}"))],
)
def test_every_kind_of_file_is_read(folder: RunFolder, compression: Compression, tokens: bool) -> None:
    train(folder, RecordOptions(rollouts_every=2, tokens=tokens, compress=compression), 5)
    run, suffix = Run(folder), SUFFIX[compression]
    names = sorted(path.name for path in folder.rollouts.rglob("*") if path.is_file())
    assert names == [f"step-{step:06d}.jsonl{suffix}" for step in (2, 4)]
    assert (folder.evaluation / f"0-grpo-000004-dev.jsonl{suffix}").is_file()
    found = list(run.rollouts())
    assert [item.trajectory.id for item in found] == ["p2#0", "p3#0", "p4#0", "p5#0"]
    assert [item.advantage for item in found] == [2 / 3, 1.0, 4 / 3, 5 / 3]
    assert [item.trajectory.tokens for item in found] == [TRACE if tokens else None] * 4
    assert run.trajectories()["advantage"].tolist() == [item.advantage for item in found]
    assert [item.trajectory.id for item in run.rollouts("0-grpo", 4)] == ["p4#0", "p5#0"]
    assert run.evaluated("0-grpo-000004-dev")[0].trajectory.tokens == (TRACE if tokens else None)


def test_a_compressed_file_is_the_lines_and_the_same_every_time(tmp_path: Path) -> None:
    plain, one, other = (RunFolder.create(tmp_path / name, "quick", "x") for name in "abc")
    train(plain, RecordOptions(), 1)
    for folder in (one, other):
        train(folder, RecordOptions(compress="gzip"), 1)
    path = plain.rollouts_of("0-grpo", 1)
    packed = one.rollouts_of("0-grpo", 1).with_suffix(".jsonl.gz")
    assert gzip.decompress(packed.read_bytes()) == path.read_bytes()
    assert packed.read_bytes() == other.rollouts_of("0-grpo", 1).with_suffix(".jsonl.gz").read_bytes()


def test_a_resumed_run_drops_later_files_of_either_kind(folder: RunFolder) -> None:
    train(folder, RecordOptions(compress="gzip"), 3)
    # resumed after step 2, with other options than before
    train(folder, RecordOptions(), 4)
    names = sorted(path.name for path in (folder.rollouts / "0-grpo").iterdir())
    assert names == ["step-000001.jsonl.gz", "step-000002.jsonl.gz", "step-000003.jsonl", "step-000004.jsonl"]
    assert not (folder.evaluation / "0-grpo-000004-dev.jsonl.gz").exists()
    assert [item.trajectory.id for item in Run(folder).evaluated("0-grpo-000004-dev")] == ["p9#0"]
    assert len(list(Run(folder).rollouts())) == 8


def test_a_cut_file_is_named(folder: RunFolder) -> None:
    train(folder, RecordOptions(compress="gzip"), 1)
    path = next(folder.rollouts.rglob("*.gz"))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"step-000001\.jsonl\.gz cannot be read"):
        list(Run(folder).rollouts())


@pytest.mark.skipif(has_zstd(), reason=f"{ZSTD} is there")
def test_zstd_without_its_package_says_what_to_install(folder: RunFolder) -> None:
    with pytest.raises(MissingError) as caught:
        compress(b"x", "zstd")
    assert caught.value.hint == "pip install 'mentor-kit[zstd]'"
    (folder.rollouts / "0-grpo").mkdir(parents=True)
    (folder.rollouts / "0-grpo" / "step-000001.jsonl.zst").write_bytes(b"x")
    with pytest.raises(MissingError):
        list(Run(folder).rollouts())


def test_a_folder_of_an_older_version_is_read(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "old" / "20260101-000000-abcd"
    (path / "rollouts" / "0-grpo").mkdir(parents=True)
    (path / "evaluation").mkdir()
    (path / "checkpoints" / "0-grpo-step-000001" / "policy").mkdir(parents=True)
    (path / "recipe.yaml").write_text("mentorkit: 1\nname: old\nseed: 0\nfolder: /somewhere/else\n")
    (path / "environment.json").write_text('{"python": "CPython 3.11.7", "settings": {}}\n')
    (path / "events.jsonl").write_text(
        '{"time":"2026-01-01T00:00:00.000000Z","kind":"run_start","stage":"","values":{"stages":["0-grpo"],"trains":["0-grpo"]}}\n'
        '{"time":"2026-01-01T00:00:01.000000Z","kind":"step","stage":"0-grpo","values":{"step":1,"steps":1,"reward":0.5}}\n'
        '{"time":"2026-01-01T00:00:02.000000Z","kind":"run_end","stage":"","values":{"outcome":"done"}}\n'
    )
    trajectory = (
        '{"id":"a#0","problem_id":"a","agent":"student","messages":[{"role":"user","content":"1+1?"},'
        '{"role":"assistant","content":"2"}],"opening":1,"ending":"answered","answer":"2","correct":true,'
        '"tokens":{"prompt_ids":[1],"ids":[2],"mask":[1],"log_probs":[-0.1],"temperature":1.0}}'
    )
    line = f'{{"trajectory":{trajectory},"reward":{{"total":1.0}}}}\n'
    (path / "rollouts" / "0-grpo" / "step-000001.jsonl").write_text(line)
    (path / "evaluation" / "0-grpo-000001-dev.jsonl").write_text(line)
    (path / "evaluation" / "0-grpo-000001-dev.json").write_text('{"step": 1, "split": "dev", "stage": "0-grpo"}')
    row = {"problem": "a", "group": "", "played": "greedy", "sample": 0, "correct": True}
    (path / "evaluation" / "0-grpo-000001-dev.outcomes.jsonl").write_text(json.dumps(row) + "\n")
    (path / "checkpoints" / "0-grpo-step-000001" / "policy" / "weights.json").write_text("5")
    offset = (path / "events.jsonl").stat().st_size
    state = {
        "number": 1, "stage": "0-grpo", "step": 1, "state": {"step": 1}, "metrics": {},
        "offsets": {"events.jsonl": offset, "demonstrations.jsonl": 0},
    }  # fmt: skip
    (path / "checkpoints" / "0-grpo-step-000001" / "state.json").write_text(json.dumps(state))
    run = Run.open(path)
    [kept] = run.rollouts()
    assert (kept.advantage, kept.reward.total, kept.trajectory.tokens.ids) == (None, 1.0, (2,))
    assert run.problems() == {}
    assert run.evaluated("0-grpo-000001-dev") == [kept]
    assert run.outcomes("0-grpo-000001-dev") == [{"decoding": row.pop("played"), **row}]
    # and it is resumed
    with RunRecorder(RunFolder.open(path)) as recorder:
        checkpoint = recorder.start(Counter(), {}, ["0-grpo"])
        assert checkpoint is not None
        assert checkpoint.step == 1
    assert list(run.rollouts()) == [kept]
