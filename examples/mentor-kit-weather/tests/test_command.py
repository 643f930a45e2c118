"""The command, as `mentorkit` runs it."""

from __future__ import annotations

from mentor_kit.cli.app import run_app


def test_problems_are_printed_with_their_keys(capsys):
    assert run_app(["weather", "quickstart", "--problems", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert all(" -> " in line for line in lines)


def test_a_recipe_that_is_not_there_is_a_wrong_command_line(capsys):
    assert run_app(["weather", "no-such-recipe"]) == 2
