"""The commands in this process: what they say, and the code they end with."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from mentor_kit import api
from mentor_kit.cli import app as cli
from mentor_kit.core.errors import BackendError, ExitCode, Interrupted, MentorKitError, MissingError
from mentor_kit.core.event import Event
from mentor_kit.hooks import Tracker
from mentor_kit.runs import RunFolder

KEY = "sk-very-secret-4711"
Outcome = tuple[int, str, str]


Call = Callable[..., Outcome]


def write(text: str, name: str = "recipe.yaml") -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


def test_check_says_that_all_is_right(mentorkit: Call) -> None:
    code, said, errors = mentorkit("check", "quickstart", "--set", "train.0.steps=7")
    assert (code, errors) == (0, "")
    assert said.startswith("quickstart: ")


def test_check_expands_the_recipe_and_the_reward(mentorkit: Call) -> None:
    _, said, _ = mentorkit("check", "quickstart", "--expand", "--set", "train.0.steps=7")
    assert "steps: 7\n" in said
    assert said.endswith(
        """reward, as it is computed:
  unless ended: 0, and nothing else counts
  unless answered: 0.1, and nothing else counts
  +0.7 x correct
  +0.3 x tool-match (0.06 when the answer is wrong)
  +0.1 x known-tools
"""
    )


def test_check_for_programs(mentorkit: Call) -> None:
    _, said, _ = mentorkit("check", "quickstart", "--json")
    assert json.loads(said)["train"][0]["use"] == "grpo"
    code, said, errors = mentorkit("check", write("extends: quickstart\nseed: x\nreward: {use: menotr}\n"), "--json")
    assert code == 2
    assert [(f["file"], f["line"], f["column"]) for f in json.loads(said)["faults"]] == [
        ("recipe.yaml", 2, 7),
        ("recipe.yaml", 3, 15),
    ]
    assert errors.count("error: recipe.yaml:") == 2


@pytest.mark.parametrize("command", ["run", "check", "collect", "evaluate"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: quickstart\nrewrad: {use: mentor}\n", "error: recipe.yaml:2:1: rewrad: unknown key (did you mean"),
        ("extends: quickstart\nseed: many\n", "error: recipe.yaml:2:7: seed: must be a whole number, not 'many'"),
        ("extends: quickstart\nreward: {use: menotr}\n", "error: recipe.yaml:2:15: reward.use: no reward is called"),
        ("extends: gone.yaml\n", "error: recipe.yaml:1:10: extends: there is no recipe 'gone.yaml'"),
    ],
)
def test_a_wrong_recipe_is_code_2_and_makes_nothing(mentorkit: Call, command: str, text: str, message: str) -> None:
    code, said, errors = mentorkit(command, write(text))
    assert (code, said) == (ExitCode.USAGE, "")
    assert errors.startswith(message)
    assert not Path("runs").exists()


USAGE = [
    ["run"],
    ["rnu"],
    ["run", "quickstart", "--stes", "3"],
    ["run", "quickstart", "--set", "seed"],
    ["run", "gone.yaml"],
    ["run", "quickstart", "--resume", "--set", "seed=3"],
    ["run", "quickstart", "--resume", "--dry-run"],
    ["run", "quickstart", "--set", f"seed={1 << 63}"],
    ["run", "quickstart", "--set", f"name={'a' * 201}"],
    ["collect", "quickstart", "--keep", "some"],
    ["collect", "quickstart", "--problems", "many"],
    ["plugins", "tool"],
    ["evaluate", "quickstart", "--student", "a", "--run", "b"],
    ["evaluate", "quickstart", "--checkpoint", "best"],
    ["evaluate", "quickstart", "--with", "model=a"],
    ["evaluate", "quickstart", "--agent", "teacher", "--with", "model=a"],
    ["evaluate", "quickstart", "--agent", "openai", "--with", "model"],
    ["evaluate", "quickstart", "--agent", "opnai"],
    ["evaluate", "quickstart", "--samples", "2", "--pass-at", "4"],
    ["evaluate", "quickstart", "--problems", "0"],
    ["compare", "--show", "3", "a", "b"],
]


@pytest.mark.parametrize("arguments", USAGE, ids=" ".join)
def test_mistakes_on_the_command_line_are_code_2(mentorkit: Call, arguments: list[str]) -> None:
    code, said, errors = mentorkit(*arguments)
    assert (code, said) == (ExitCode.USAGE, "")
    assert "error" in errors.lower()
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("error", "code", "shown"),
    [
        (BackendError("out of memory", hint="smaller groups"), 1, "error: out of memory\n  smaller groups\n"),
        (MissingError("no torch", hint="pip install torch"), 3, "error: no torch\n  pip install torch\n"),
        (Interrupted("stopped", hint="go on with --resume"), 130, "error: stopped\n  go on with --resume\n"),
        (MentorKitError("a\nb"), 1, "error: a\nerror: b\n"),
        (
            ZeroDivisionError("by 0"),
            1,
            "error: an error in mentor-kit itself: ZeroDivisionError: by 0\n  MENTORKIT_DEBUG=1",
        ),
        (BrokenPipeError(), 0, ""),
    ],
)
def test_errors_become_codes(
    mentorkit: Call, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, shown: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(api, "run", fail)
    monkeypatch.setattr(cli, "_reader_left", lambda: 0)
    found, _, errors = mentorkit("run", "quickstart")
    assert found == code
    assert errors.startswith(shown)
    assert "Traceback" not in errors


def test_control_c_is_code_130(mentorkit: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "run", interrupt)
    assert mentorkit("run", "quickstart")[0] == ExitCode.INTERRUPTED


def test_a_bug_shows_its_traceback_on_request(mentorkit: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "run", lambda *_, **__: 1 / 0)
    monkeypatch.setenv("MENTORKIT_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        mentorkit("run", "quickstart")


def test_errors_do_not_show_secrets(mentorkit: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_KEY", KEY)
    recipe = write('extends: quickstart\nteacher: {use: scripted, with: {key: "${env:TEACHER_KEY}"}}\n')
    code, said, errors = mentorkit("check", recipe)
    assert code == 2
    assert KEY not in said + errors

    def fail(*_: object, **__: object) -> None:
        raise BackendError(f"401 for {KEY}", hint=f"is {KEY} right?")

    monkeypatch.setattr(api, "run", fail)
    _, _, errors = mentorkit("run", "quickstart")
    assert errors == "error: 401 for ${env:TEACHER_KEY}\n  is ${env:TEACHER_KEY} right?\n"


class Done:
    """As much of a finished run as the commands look at."""

    path = Path("runs/x/1")
    evaluations: tuple[dict[str, Any], ...] = ()
    events: tuple[Event, ...] = ()

    def demonstrations(self) -> list[int]:
        return [1, 2, 3]


def test_arguments_reach_the_python_interface(mentorkit: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def stub(name: str) -> Callable[..., Done]:
        return lambda *args, **named: (calls.append((name, args, named)), Done())[1]

    for name in ("collect", "evaluate", "export"):
        monkeypatch.setattr(api, name, stub(name))
    monkeypatch.setattr(api, "serving", lambda *_, **__: ())
    monkeypatch.setattr(api, "written_format", lambda *_, **named: named["format"])
    monkeypatch.setattr(api, "quantization_cost", lambda *_: None)
    assert mentorkit("collect", "r", "--problems", "7", "--keep", "all", "--set", "seed=1", "--output", "o")[0] == 0
    code, said, _ = mentorkit("collect", "r", "--json")
    assert (code, json.loads(said)) == (0, {"kind": "result", "run": "runs/x/1", "demonstrations": 3})
    Path("student").mkdir()
    assert mentorkit("evaluate", "r", "--split", "a", "--split", "b", "--problems", "5", "--student", "student")[0] == 0
    assert mentorkit("export", "r", "target", "--checkpoint", "best", "--format", "adapter", "--runs", "o")[0] == 0
    (_, _, first), _, (_, _, evaluated), (_, exported, options) = calls
    assert (first["problems"], first["keep"], first["overrides"], first["output"]) == (7, "all", {"seed": 1}, Path("o"))
    assert (evaluated["student"], evaluated["overrides"]) == ("student", {})
    assert (evaluated["on"], evaluated["changes"]) == (["a", "b"], {"problems": 5})
    assert exported == ("r", Path("target"))
    assert (options["checkpoint"], options["format"], options["output"]) == ("best", "adapter", Path("o"))


def test_resume_takes_a_recipe_file_for_the_newest_run_of_its_name(
    mentorkit: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    named: list[object] = []

    def resume(run: object, **_: object) -> None:
        named.append(run)
        raise Interrupted("enough")

    monkeypatch.setattr(api, "resume", resume)
    recipe = write("extends: quickstart\nname: mine\n")
    assert [mentorkit("run", name, "--resume")[0] for name in (recipe, "runs/mine/1")] == [130, 130]
    assert named == ["mine", "runs/mine/1"]


def test_resume_takes_a_runs_own_recipe_for_that_run(mentorkit: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[object] = []

    def resume(run: object, **_: object) -> None:
        named.append(run)
        raise Interrupted("enough")

    monkeypatch.setattr(api, "resume", resume)
    first, _ = (RunFolder.create(Path("runs"), "mine", "extends: quickstart\nname: mine\n") for _ in range(2))
    mentorkit("run", str(first.recipe), "--resume")
    assert named == [first.path]


def test_a_student_is_exported_into_no_file(mentorkit: Call) -> None:
    target = write("mine")
    code, _, errors = mentorkit("export", "quickstart", target)
    assert code == ExitCode.USAGE
    assert f"{target} is a file" in errors
    assert Path(target).read_text() == "mine"


def test_progress_for_programs_is_json_lines(mentorkit: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object, trackers: Sequence[Tracker], **__: object) -> None:
        for step in (1, 2):
            trackers[0].event(Event("step", "now", "0-grpo", step, {"steps": 2, "reward": 0.5}))
        raise Interrupted("enough")

    monkeypatch.setattr(api, "run", run)
    _, said, _ = mentorkit("run", "quickstart", "--json")
    *events, last = [json.loads(line) for line in said.splitlines()]
    assert [(event["kind"], event["stage"], event["step"]) for event in events] == [
        ("step", "0-grpo", 1),
        ("step", "0-grpo", 2),
    ]
    assert (last["kind"], last["error"], last["code"]) == ("error", "Interrupted", 130)


def test_plugins_lists_what_is_installed(mentorkit: Call) -> None:
    code, said, _ = mentorkit("plugins")
    assert code == 0
    names = ("bfcl", "core", "data", "math", "mlx", "records", "rewards", "teachers", "tiny", "tools", "torch")
    assert [line.split()[:2] for line in said.splitlines()[: len(names)]] == [["loaded", name] for name in names]
    _, said, _ = mentorkit("plugins", "rewards", "--json")
    found = json.loads(said)
    assert {part["name"] for part in found["components"]} >= {"mentor", "sparse", "mentor-f1"}
    assert {part["kind"] for part in found["components"]} == {"rewards"}


def test_schema_is_printed_or_written(mentorkit: Call) -> None:
    code, said, _ = mentorkit("schema")
    assert code == 0
    Draft202012Validator.check_schema(json.loads(said))
    mentorkit("schema", "--output", "recipe.json")
    assert json.loads(Path("recipe.json").read_text()) == json.loads(said)
    code, _, errors = mentorkit("schema", "--output", "recipe.json/inside")
    assert code == ExitCode.FAILED
    assert "recipe.json/inside" in errors.splitlines()[0]
    assert len(errors.splitlines()) == 2  # with what to do


def test_doctor_says_what_is_missing_and_how_to_get_it(mentorkit: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    code, said, _ = mentorkit("doctor", "--json")
    assert code == 0
    assert {"python", "torch", "disk"} <= {check["check"] for check in json.loads(said)}
    import importlib.metadata

    real = importlib.metadata.version
    missing = {"mcp"}

    def version(name: str) -> str:
        if name in missing:
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    code, said, _ = mentorkit("doctor")
    assert code == 0  # only recipes with MCP tools need it
    assert re.search(r"^ok +mcp: .*pip install 'mentor-kit\[mcp\]'$", said, flags=re.MULTILINE)
    assert "transformers" in said
    missing.add("peft")
    code, said, _ = mentorkit("doctor")
    assert code == ExitCode.MISSING
    assert re.search(r"^MISS +peft: .*pip install 'mentor-kit\[torch\]'$", said, flags=re.MULTILINE)


def test_a_recipe_is_listed_by_its_name(mentorkit: Call) -> None:
    for words in (("recipes", "quickstart"), ("quickstart",)):
        code, said, _ = mentorkit("plugins", *words)
        assert code == 0
        assert said.startswith("recipe quickstart: ")
    assert mentorkit("plugins", "recipes", "quikstart")[0] == ExitCode.USAGE
    assert "'quickstart'" in mentorkit("plugins", "recipes", "quikstart")[2]


def test_version_and_help(mentorkit: Call) -> None:
    from mentor_kit import __version__

    assert mentorkit("--version") == (0, f"{__version__}\n", "")
    code, said, _ = mentorkit("--help")
    assert code == 0
    for command in ("run", "check", "collect", "evaluate", "compare", "export", "chat", "plugins", "doctor", "schema"):
        assert f"\n  {command} " in said


def test_commands_are_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()
    for info in cli.app.registered_commands:
        assert info.callback is not None
        assert f"## {info.name or info.callback.__name__.replace('_', '-')}\n" in text
    for code in ExitCode:
        assert f"| {int(code)} |" in text


def test_options_are_documented() -> None:
    import typer.main

    text = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()
    group: Any = typer.main.get_command(cli.app)
    for name, command in group.commands.items():
        section = text.partition(f"## {name}\n")[2].partition("\n## ")[0]
        for parameter in command.params:
            for option in parameter.opts:
                if option.startswith("--") and option != "--help":
                    assert f"`{option}" in section, f"{name} {option}"


@pytest.mark.parametrize("arguments", [["grpo"], ["stages", "grpo"], ["core:grpo"], ["stages", "core:grpo"]])
def test_the_options_of_a_part(mentorkit: Call, arguments: list[str]) -> None:
    code, said, _ = mentorkit("plugins", *arguments)
    assert code == 0
    assert "steps: int, > 0 (required)" in said
    _, said, _ = mentorkit("plugins", *arguments, "--json")
    (part,) = json.loads(said)["components"]
    assert {option["name"]: option["default"] for option in part["options"]}["group"] == 8


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [(["grop"], "grpo"), (["stage"], "stages"), (["stages", "grop"], "grpo"), (["stags", "grpo"], "stages")],
)
def test_a_part_that_is_not_there(mentorkit: Call, arguments: list[str], meant: str) -> None:
    code, said, errors = mentorkit("plugins", *arguments)
    assert (code, said) == (ExitCode.USAGE, "")
    assert f"did you mean '{meant}'?" in errors


def test_shipped_recipes_are_listed(mentorkit: Call) -> None:
    from mentor_kit.recipe.loading import recipe_names

    _, said, _ = mentorkit("plugins", "recipes")
    assert {line.split()[0] for line in said.splitlines()} >= set(recipe_names())
    _, said, _ = mentorkit("plugins", "recipes", "--json")
    assert {part["name"] for part in json.loads(said)["components"]} >= set(recipe_names())


def test_doctor_of_a_recipe(mentorkit: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    code, said, _ = mentorkit("doctor", "quickstart", "--json")
    assert code == 0
    assert {check["check"] for check in json.loads(said)} >= {"backend torch", "stage grpo", "tool math"}
    code, _, errors = mentorkit("doctor", "quickstrat")
    assert (code, "'quickstart'" in errors) == (ExitCode.USAGE, True)
    from mentor_kit.hooks.registry import Component

    monkeypatch.setattr(Component, "unavailable", lambda part: "no such device" if part.name == "torch" else "")
    code, said, _ = mentorkit("doctor", "quickstart")
    assert code == ExitCode.MISSING
    assert re.search(r"^MISS +backend torch: no such device", said, flags=re.MULTILINE)
