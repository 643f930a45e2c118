"""What a student's card says beside what is known from its run."""

from __future__ import annotations

import pytest

from mentor_kit.api.student_cards import CardOptions
from mentor_kit.core.errors import UsageError


@pytest.mark.parametrize("name", ["mit", "apache-2.0", "cc-by-nc-sa-4.0", "llama3.2", "lgpl-lr", "other"])
def test_identifiers_of_the_hub_are_taken(name: str) -> None:
    assert CardOptions(license=name).license == name


@pytest.mark.parametrize("name", ["", "MIT", "Apache 2.0", "apache-2.0\n", "a: b", "apache-"])
def test_what_is_no_identifier_of_a_licence_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="license"):
        CardOptions(license=name)
