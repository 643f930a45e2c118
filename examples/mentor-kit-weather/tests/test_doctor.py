"""The check, as `mentorkit doctor` makes it."""

from __future__ import annotations

from mentor_kit import api


def test_it_is_among_the_checks_of_the_machine():
    (found,) = [check for check in api.check_machine() if check.name == "weather"]
    assert found.ok
    assert "MiB free" in found.detail
