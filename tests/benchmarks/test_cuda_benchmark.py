"""`make cuda`, as far as it goes without a GPU: its sides on a CPU, their table, its checks and how it ends."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import checks
import cuda
import cuda_side
import cuda_speed
import torch
from rich.console import Console
from shape import write_random

from mentor_kit.core.errors import ExitCode

CASE = {"rows": 8, "prompt": 24, "own": 3, "completion": 6}
LIMITS = {"side": "limits", "model": "m", "flops": 1e12, "bandwidth": 1e9}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> cuda_side.Place:
    folder = tmp_path_factory.mktemp("student")
    write_random(folder, cuda_speed.smollm2_135m(**cuda_speed.TINY))
    return cuda_side.Place(folder, "cpu", "float32")


def found(place: cuda_side.Place, side: str) -> dict[str, Any]:
    (line,) = cuda_side.lines(place, side, [CASE])
    return line


@pytest.mark.slow
@pytest.mark.parametrize("peer", ["generate", "generate, static cache", "continuous batching"])
def test_samplers_draw_the_same_greedy_tokens(place: cuda_side.Place, peer: str) -> None:
    ours = found(place, "ours")
    # in a process of its own, as transformers looks for devices there
    (theirs,) = cuda_speed.measure(cuda_speed.Work(peer, "m", (CASE,), 1.0), place.folder, "cpu", "float32", 600.0)
    assert ours["output"] == theirs["output"]
    assert min(ours["seconds"], theirs["seconds"]) > 0


@pytest.mark.slow
def test_bytes_of_a_pass_are_weights_and_keys_and_values(place: cuda_side.Place) -> None:
    config = cuda_speed.smollm2_135m(**cuda_speed.TINY)
    layer = 4 * (32 * 32 + 2 * 32 * 16 + 32 * 32 + 3 * 32 * 48 + 2 * 32)
    weights = config.num_hidden_layers * layer + 4 * (32 * 128 + 32)
    # a row reads its own keys and values at least, and at most those of its whole context
    position = config.num_hidden_layers * 2 * 16 * 4
    most = 8 * (24 + 3 + 6) * position
    assert weights < found(place, "ours")["bytes"] <= weights + most


@pytest.mark.slow
@pytest.mark.parametrize("side", ["update", "unshared update", "step", "launches", "limits"])
def test_other_sides_measure(place: cuda_side.Place, side: str) -> None:
    line = found(place, side)
    assert line.get("error") is None
    assert line.get("seconds", 1) > 0
    if side == "update":  # each of 8 completions' and the prompt's tokens, forward and backward, once
        assert line["flops"] > 3 * 2 * (27 + 8 * 5) * cuda_speed.TINY["hidden_size"] ** 2
    if side == "launches":
        assert line["operations"] > 20


def test_what_the_memory_does_not_hold_is_said_and_the_next_case_is_tried(
    place: cuda_side.Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(place: cuda_side.Place, case: dict[str, int]) -> dict[str, Any]:
        if case["rows"] > 8:
            raise torch.OutOfMemoryError
        return {"seconds": 1.0}

    monkeypatch.setitem(cuda_side.SIDES, "ours", work)
    large, small = cuda_side.lines(place, "ours", [CASE | {"rows": 256}, CASE])
    assert (large["error"], small["seconds"]) == ("out of memory", 1.0)


def test_a_case_that_fails_says_why_and_the_next_one_is_tried(
    place: cuda_side.Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(place: cuda_side.Place, case: dict[str, int]) -> dict[str, Any]:
        if case["rows"] > 8:
            raise ValueError("the prompt has 8208 of a context of 8192\nand more lines")
        return {"seconds": 1.0}

    monkeypatch.setitem(cuda_side.SIDES, "ours", work)
    large, small = cuda_side.lines(place, "ours", [CASE | {"rows": 256}, CASE])
    assert (large["error"], small["seconds"]) == ("ValueError: the prompt has 8208 of a context of 8192", 1.0)


def test_every_case_fits_into_the_models_contexts() -> None:
    for work in cuda_speed.plan(cuda_speed.ROWS, cuda_speed.PROMPTS, 16, 64):
        context = cuda_speed.MODELS[work.model]().max_position_embeddings
        assert all(case["prompt"] + case["own"] + case["completion"] <= context for case in work.cases)


def test_a_command_that_takes_too_long_is_ended_with_all_it_started() -> None:
    # its child keeps the output open, as an engine's process does
    sleep = "[sys.executable, '-c', 'import time; time.sleep(600)']"
    child = f"import subprocess, sys; print('begun', flush=True); subprocess.run({sleep})"
    started = time.monotonic()
    assert checks.ended_within([sys.executable, "-c", child], 3.0)[:2] == (None, "begun\n")
    assert time.monotonic() - started < 60
    assert checks.ended_within([sys.executable, "-c", "import sys; print(1); sys.exit(4)"], 60.0) == (4, "1\n", "")


def installed_by_make_cuda(folder: Path) -> Path:
    """Site packages with what `make cuda` installs and what that needs, and nothing else: links to those here."""
    kept: set[tuple[str, ...]] = set()

    def keep(name: str, *extras: str) -> None:
        key = (canonicalize_name(name), *sorted(extras))
        if key in kept:
            return
        try:
            needed = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            return
        kept.add(key)
        for one in map(Requirement, needed):
            if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in (*extras, "")):
                keep(one.name, *one.extras)

    keep("mentor-kit", "torch")
    makefile = (checks.ROOT / "Makefile").read_text(encoding="utf-8")
    for name in re.search(r"^GPU_TESTS := (.*)$", makefile, re.MULTILINE)[1].split():
        keep(name)
    for name, *_ in kept:
        found = metadata.distribution(name)
        for top in {file.parts[0] for file in found.files or () if file.parts[0] not in ("..", "__pycache__")}:
            link = folder / top
            if not link.exists() and not top.endswith(".pth"):
                link.symlink_to(found.locate_file(top))
    return folder


@pytest.mark.slow
def test_the_tests_are_collected_with_what_make_cuda_installs(tmp_path: Path) -> None:
    (check,) = (check for check in cuda.all_checks(tmp_path, 10.0, pretend=False) if check.name == "tests")
    assert check.command[1:3] == ("-m", "pytest")
    site = installed_by_make_cuda(tmp_path)
    assert (site / "torch").exists()
    assert not (site / "mlx").exists()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    environment["PYTHONPATH"] = os.pathsep.join([str(site), ".", "backends", "plugins"])
    done = subprocess.run(
        [sys.executable, "-S", *check.command[1:], "--collect-only"],
        cwd=checks.ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert all(Path(suite).name in done.stdout for suite in cuda.SUITES)


def test_events_of_a_profile_are_counted() -> None:
    class Event:
        def __init__(self, key: str, count: int, device: str = "CPU") -> None:
            self.key, self.count, self.device_type = key, count, type("Kind", (), {"name": device})

    events = [
        Event("aten::mm", 7), Event("cudaLaunchKernel", 5), Event("cudaGraphLaunch", 1), Event("gemm", 6, "CUDA"),
        Event("Memcpy DtoH", 2, "CUDA"), Event("cudaMemcpyAsync", 2), Event("cudaStreamSynchronize", 3),
        Event("cudaDeviceSynchronize", 1),
    ]  # fmt: skip
    assert cuda_side.counted(events) == {"kernels": 6, "launches": 6, "copies": 2, "waits": 4, "operations": 7}


def test_a_tokens_time_is_what_many_take_longer_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second before the first token, and two milliseconds for each after it."""
    clock = [0.0]

    def make(shape: Any) -> Callable[[], dict[str, Any]]:
        def turn() -> dict[str, Any]:
            clock[0] += 0.5 + 0.002 * (shape.completion - 1)
            return {"output": [[1] * shape.completion]}

        return turn

    monkeypatch.setattr(cuda_side.time, "perf_counter", lambda: clock[0])
    line = cuda_side.decoding(cuda_side.Place(Path("x"), "cpu", "float32"), cuda_side.shape_of(CASE), make)
    np.testing.assert_allclose([line["seconds"], line["token"]], [0.51, 0.002])


def printed(found: list[dict[str, Any]]) -> str:
    console = Console(width=200, file=io.StringIO())
    for table in cuda_speed.tables(found):
        console.print(table)
    return console.file.getvalue()


def test_the_table_has_times_shares_and_why_there_is_none() -> None:
    case = {"model": "m", **CASE}
    text = printed(
        [
            LIMITS,
            {"side": "ours", **case, "token": 0.002, "bytes": 1e6, "output": [[1, 2], [3, 4]]},
            {"side": "generate", **case, "token": 0.004, "output": [[1, 2], [3, 9]]},
            {"side": "vLLM", **case, "error": "vllm is not installed"},
            {"side": "update", **case, "seconds": 0.5, "flops": 2e11},
            {"side": "launches", **case, "kernels": 12.5, "launches": 1, "copies": 2, "waits": 1, "operations": 9},
        ]
    )
    for words in ("2.00", "50%", "4.00", "vllm is not installed", "75%", "0.500", "40%", "12.5"):
        assert words in text


def test_without_a_gpu_one_message_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if cuda.gpus():
        pytest.skip("there is a GPU")
    assert cuda.main(["--output", str(tmp_path / "cuda")]) == ExitCode.MISSING
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert not (tmp_path / "cuda").exists()


def test_checks_end_within_ten_minutes_and_have_names_of_their_own(tmp_path: Path) -> None:
    checks = cuda.all_checks(tmp_path, 10.0, pretend=False)
    assert len({check.name for check in checks}) == len(checks)
    assert sum(check.minutes for check in checks) <= 10


@pytest.mark.slow
def test_the_report_has_the_machine_and_each_check(tmp_path: Path) -> None:
    assert cuda.main(["--pretend", "--output", str(tmp_path), "--only", "doctor", "quickstart"]) == ExitCode.DONE
    report = json.loads((tmp_path / "cuda.json").read_text())
    assert [item["name"] for item in report["checks"]] == ["doctor", "quickstart"]
    assert all(item["well"] for item in report["checks"])


def test_what_is_wanted_is_compared_with_what_was_found() -> None:
    small, large = cuda_speed.MODELS
    case = {"rows": 64, "prompt": 1024}
    text = printed(
        [
            LIMITS,
            {"side": "ours", "model": small, **case, "token": 0.002, "bytes": 1e6, "output": []},
            {"side": "ours", "model": small, "rows": 256, "prompt": 8192, "token": 9.0, "bytes": 1e6, "output": []},
            {"side": "ours", "model": large, **case, "token": 0.01, "bytes": 5e6, "output": []},
            {"side": "update", "model": small, **case, "seconds": 0.5, "flops": 2.05e11},
            {"side": "update", "model": large, **case, "error": "out of time"},
            {"side": "step", "model": small, **case, "seconds": 2.0},
            {"side": "TRL's step", "model": small, **case, "seconds": 9.0},
        ]
    )
    rows = {line.split("│")[1].strip(): line.split("│")[2:5] for line in text.splitlines() if line.count("│") == 5}
    found = {what: [cell.strip() for cell in cells] for what, cells in rows.items()}
    assert found[f"{small}: ms a token"] == ["at most 3", "2.00", "yes"]
    assert found[f"{large}: of the bandwidth in decoding"] == ["0.60", "0.50", "no"]
    assert found[f"{small}: of the products' limit in the update"] == ["0.40", "0.41", "yes"]
    assert found[f"{large}: of the products' limit in the update"] == ["0.40", "not measured", "-"]
    assert found[f"{small}: a step of TRL's by ours"] == ["5", "4.50", "no"]


def test_a_kind_of_tests_for_which_no_time_was_left_is_not_well() -> None:
    whole = "5 tests were not run: no time was left (--minutes)\n\n{} of 9 kinds have no test that was run\n"
    last = "== 12 passed, 7 skipped in 100.00s =="
    for kinds, well in ((0, True), (2, False)):
        found = checks.counts(whole.format(kinds) + last)
        assert found == {"passed": 12, "skipped": 2, "not run": 5, "kinds not run": kinds}
        assert checks.ran_each_kind(found) is well
    assert checks.counts(last) == {"passed": 12, "skipped": 7}
    assert checks.ran_each_kind(checks.counts(last))
    assert not checks.ran_each_kind({"skipped": 3})


TRIED = """
import time, pytest
class TestA:
    @pytest.mark.parametrize("n", range(3))
    def test_one(self, n): time.sleep(0 if n else 4)
    def test_two(self): pass
def test_b(): pass
def test_c(): pass
"""


@pytest.mark.slow
def test_one_of_each_kind_is_run_first(tmp_path: Path) -> None:
    (tmp_path / "test_tried.py").write_text(TRIED)
    (tmp_path / "conftest.py").write_text((checks.ROOT / "tests" / "conftest.py").read_text())

    def run(*options: str) -> str:
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v", "-n0", "--each-kind", *options]
        own = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
        return subprocess.run(command, cwd=tmp_path, env=own, capture_output=True, text=True, check=False).stdout

    names = re.findall(r"test_tried.py::(\S+) PASSED", run())
    assert names == ["TestA::test_one[0]", "test_b", "test_c", "TestA::test_one[1]", "TestA::test_one[2]",
                     "TestA::test_two"]  # fmt: skip
    said = run("--minutes", "0.06")
    assert "TestA::test_one[0] PASSED" in said
    left, none = (int(re.search(words, said)[1]) for words in (r"(\d+) tests were not run", r"(\d+) of 3 kinds"))
    assert (left, none) == (5, 2)
