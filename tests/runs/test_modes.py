"""Whoever may read a run's other files may read its weights, too: modes are those of the user's umask."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from mentor_kit.runs.files import write_folder

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")


@pytest.fixture(params=[0o022, 0o027, 0o002, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_folders_files_have_the_modes_of_new_files(tmp_path: Path, umask: int) -> None:
    def fill(folder: Path) -> None:
        private = os.open(folder / "weights", os.O_CREAT | os.O_WRONLY, 0o600)
        os.close(private)
        (folder / "plain").write_text("x")
        (folder / "inner").mkdir(mode=0o700)
        os.close(os.open(folder / "inner" / "shard", os.O_CREAT | os.O_WRONLY, 0o600))

    made = write_folder(tmp_path / "made", fill)
    assert {mode(path) for path in made.rglob("*") if path.is_file()} == {0o666 & ~umask}
    assert {mode(path) for path in (made, made / "inner")} == {0o777 & ~umask}


def test_weights_of_a_library_that_writes_for_the_owner_alone(tmp_path: Path, umask: int) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    made = write_folder(tmp_path / "made", lambda new: save_file({"a": torch.zeros(2)}, new / "model.safetensors"))
    assert mode(made / "model.safetensors") == 0o666 & ~umask
