from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor_kit.core.errors import DataError, MentorKitError
from mentor_kit.core.event import Event
from mentor_kit.runs.events import EventLog, iterate_events
from mentor_kit.runs.jsonl import JsonlFile, read_lines, whole_length

line = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=40)


@given(st.lists(line, max_size=8), st.data())
def test_a_file_cut_anywhere_keeps_its_whole_lines(lines: list[str], data: st.DataObject) -> None:
    content = "".join(f"{text}\n" for text in lines).encode()
    cut = data.draw(st.integers(0, len(content)))
    whole = [text.encode() for text in lines][: content[:cut].count(b"\n")]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lines"
        path.write_bytes(content[:cut])
        assert list(read_lines(path)) == whole
        with JsonlFile(path) as file:
            file.append(["again"])
        assert list(read_lines(path)) == [*whole, b"again"]


@pytest.mark.parametrize("tail", [1, 65535, 65536, 65537, 200_000])
def test_long_half_written_lines_are_found(tmp_path: Path, tail: int) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"one\ntwo\n" + b"x" * tail)
    assert whole_length(path) == 8
    path.write_bytes(b"x" * tail)
    assert whole_length(path) == 0


@given(st.lists(st.lists(line, max_size=3), max_size=5), st.lists(line, max_size=3))
def test_truncating_goes_back_exactly(batches: list[list[str]], later: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder, JsonlFile(Path(folder) / "lines") as file:
        for batch in batches:
            file.append(batch)
        before, offset = file.path.read_bytes(), file.offset
        file.append(later, sync=True)
        file.truncate(offset)
        assert file.path.read_bytes() == before
        file.append(["new"])
        assert file.path.read_bytes() == before + b"new\n"


def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, room = os.write, 5

    def write(handle: int, data: bytes) -> int:
        nonlocal room
        if room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = real(handle, data[:room])
        room -= written
        return written

    with JsonlFile(tmp_path / "lines") as file:
        file.append(["kept"])
        room = 5
        monkeypatch.setattr(os, "write", write)
        with pytest.raises(MentorKitError, match=r"cannot write .*lines: No space left.*bytes free.*is whole"):
            file.append(["does not fit any more"])
        monkeypatch.setattr(os, "write", real)
        assert file.path.read_bytes() == b"kept\n"
        file.append(["fits again"])
    assert list(read_lines(tmp_path / "lines")) == [b"kept", b"fits again"]


def test_a_corrupt_event_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventLog(path) as log:
        log.write(Event.now("note", "", {}))
    with path.open("ab") as file:
        file.write(b"[1]\n")
    with pytest.raises(DataError, match=r"events\.jsonl:2: not an event"):
        list(iterate_events(path))
