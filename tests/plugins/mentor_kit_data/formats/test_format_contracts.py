"""Every built-in format keeps to the contract of data formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from published_rows import MAKERS, rows

from mentor_kit.core.data_format import DataFormat
from mentor_kit.hooks.data_formats import data_formats
from mentor_kit.testing.data_formats import DIALOGUES, DataFormatContract

FORMATS = data_formats()


class PublishedFormat(DataFormatContract):
    """A format whose rows are among the published ones."""

    name = ""

    @pytest.fixture
    def data_format(self) -> DataFormat:
        return FORMATS[self.name]

    def rows(self) -> Sequence[Mapping[str, Any]]:
        return rows(self.name)


class WrittenFormat(PublishedFormat):
    """A format of our own rows, and the hub's."""

    def rows(self) -> Sequence[Mapping[str, Any]]:
        return [FORMATS[self.name].write(DIALOGUES["one call"])]


class TestTRL(PublishedFormat):
    name = "trl"


class TestOpenAI(PublishedFormat):
    name = "openai"


class TestShareGPT(PublishedFormat):
    name = "sharegpt"


class TestXLAM(PublishedFormat):
    name = "xlam"


class TestToolACE(PublishedFormat):
    name = "toolace"


class TestHermes(PublishedFormat):
    name = "hermes"


class TestToucan(PublishedFormat):
    name = "toucan"


class TestWhen2Call(PublishedFormat):
    name = "when2call"


class TestSessions(WrittenFormat):
    name = "sts"


class TestMentor(WrittenFormat):
    name = "mentor"


def test_every_format_is_tested() -> None:
    tested = {each.name for each in (*PublishedFormat.__subclasses__(), *WrittenFormat.__subclasses__()) if each.name}
    assert tested == set(FORMATS)
    assert tested - {"sts", "mentor"} <= set(MAKERS)
