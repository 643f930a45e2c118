"""Writes a new recipe: from a file of data, or the shipped example with data and tools of its own to replace."""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from mentor_kit.api.arguments import checked_arguments
from mentor_kit.api.scaffold.data_look import DataLook, look_at, look_at_held_out
from mentor_kit.api.scaffold.new_folder import check_new
from mentor_kit.api.scaffold.sample_recipe import round_trip_yaml
from mentor_kit.backend.base_model import is_hub_id
from mentor_kit.core.component import ComponentSpec
from mentor_kit.core.errors import DataError, UsageError
from mentor_kit.core.frozen_model import Json
from mentor_kit.hooks.data_formats import data_formats
from mentor_kit.hooks.loader import default_registry
from mentor_kit.hooks.registry import BuildContext, Registry
from mentor_kit.recipe.checking import load_checked
from mentor_kit.recipe.faults import Fault, RecipeFaults
from mentor_kit.recipe.loading import find_recipe
from mentor_kit.recipe.source import NOWHERE
from mentor_kit.runs.dialogue_rows import data_files
from mentor_kit.runs.files import write_folder

#: The shipped recipes that new ones are made from, by their task.
TEMPLATES = {"rows": "data/shop", "conversations": "data/conversations"}
#: The files beside the first of them, by their names in the folder of a recipe without data.
_BESIDE = {"train.csv": "shop-train.csv", "test.csv": "shop-test.csv", "tools.py": "shop_tools.py"}
_CALCULATOR, _NO_TOOLS = "- {use: math}", "[]"
#: The student of a recipe that names none; its context is short.
TINY = "tiny-student"
FILE = "recipe.yaml"
#: Rows of more characters may not fit into its context.
LONG = 2000
TOO_LONG = "half of the rows have {:,} characters or more, and tiny-student reads 1,024 tokens: name another --student"
#: The comment that a recipe begins with.
HEADER = """\
# {what}: `mentorkit run {place}`.
# `mentorkit check {place} --expand` prints all keys with their defaults.
"""
_NAMES_NO_DATA = "give a file with rows: JSONL, JSON, CSV, TSV or parquet"


@dataclass(frozen=True)
class NewRecipe:
    """A recipe that was written."""

    folder: Path
    look: DataLook | None
    """What its data was found to be; None for a recipe with the example's data."""
    note: str = ""
    """What is likely to go wrong with it; empty if nothing is."""

    @property
    def recipe(self) -> Path:
        """The recipe's file."""
        return self.folder / FILE

    def next_steps(self) -> list[str]:
        """The commands that show, try and run it."""
        place = quote(str(self.recipe))
        return [f"mentorkit preview {place}", f"mentorkit run {place} --dry-run", f"mentorkit run {place}"]

    def as_data(self) -> dict[str, Json]:
        """The recipe for programs."""
        files = sorted(path.relative_to(self.folder).as_posix() for path in self.folder.iterdir())
        look = None if self.look is None else vars(self.look) | {"calls": list(self.look.calls)}
        places = {"folder": str(self.folder), "recipe": str(self.recipe), "files": files}
        return {**places, "data": look, "note": self.note}


@checked_arguments
def new_recipe(
    data: str | Path | None = None,
    *,
    test: str | Path | None = None,
    student: str = TINY,
    columns: Mapping[str, str] | None = None,
    folder: str | Path | None = None,
    registry: Registry | None = None,
) -> NewRecipe:
    """Write a recipe into a new folder. It passes `mentorkit check` and runs as it is.

    Args:
        data: a file of dialogues (any of `mentorkit plugins formats`) or of questions with answers, which the recipe
            names where it is; if left out, the shipped example's questions and tools are copied into the folder.
        test: a file of the same form, on which the student is evaluated; the training rows if left out.
        student: the model: a registered name, a folder, or a hub id.
        columns: the columns of `question`, `answer` and other fields, where they are not found by their names.
        folder: the new folder; one of the data's name in the working directory if left out.
        registry: the plugins to use; those of this environment if left out.

    Raises:
        UsageError: the folder is there already, or arguments do not fit together.
        DataError: the data cannot be read, it is not known what it is, or the held-out rows have another form.
        MissingError: a package is not installed.
        RecipeError: the student is none.
    """
    registry = registry or default_registry()
    if data is None:
        if test is not None or columns:
            raise UsageError("there are test data or columns, and no data", hint=_NAMES_NO_DATA)
        target = Path("my-recipe" if folder is None else folder)
        return NewRecipe(_write(target, registry, lambda new: _fill_example(new, target, student)), None)
    files = {"train": _file(data)} | ({} if test is None else {"in-domain": _file(test)})
    formats = data_formats(registry)
    look = look_at(files["train"], formats, columns or {})
    looks = [look] + [look_at_held_out(files[split], formats, look) for split in files if split != "train"]
    target = Path(_slug(files["train"]) if folder is None else folder)
    text = _text_of(looks, {split: _from(file, target) for split, file in files.items()}, target, student, registry)
    too_long = TOO_LONG.format(look.characters) if student == TINY and look.characters > LONG else ""
    note = "; ".join(filter(None, (look.note, too_long)))
    return NewRecipe(_write(target, registry, lambda new: _put(new / FILE, text)), look, note)


def _write(folder: Path, registry: Registry, fill: Callable[[Path], object]) -> Path:
    """Write the folder, and check the recipe in it before it gets its name: what is wrong leaves nothing behind."""
    check_new(folder)

    def filled(new: Path) -> None:
        fill(new)
        try:
            load_checked(new / FILE, {}, registry, look=True)
        except RecipeFaults as error:
            # the file goes with the folder: its lines are no places
            raise RecipeFaults(Fault(NOWHERE, fault.text) for fault in error.faults) from None

    return write_folder(folder, filled)


def _put(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")


def _fill_example(new: Path, folder: Path, student: str) -> None:
    """The shipped recipe with its questions and tools."""
    shipped = find_recipe(TEMPLATES["rows"])
    for name, source in _BESIDE.items():
        shutil.copyfile(shipped.parent / source, new / name)
    names = {source: name for name, source in _BESIDE.items()}
    recipe = _template("rows")
    recipe["name"] = _slug(folder)
    options = recipe["task"]["with"]
    for split, file in options["files"].items():
        options["files"][split] = names[file]
    (tools,) = recipe["tools"]
    tools["with"]["module"] = names[tools["with"]["module"]]
    _set_student(recipe, student)
    what = "Questions in train.csv and test.csv, tools in tools.py, to be replaced by your own"
    _put(new / FILE, _dumped(recipe, what, folder))


def _text_of(
    looks: Sequence[DataLook], files: Mapping[str, str], folder: Path, student: str, registry: Registry
) -> str:
    """The recipe's text; the first look is that of the training rows."""
    look, faulty = looks[0], sum(one.faulty for one in looks)
    recipe = _template(look.task)
    recipe["name"] = _slug(folder)
    options = recipe["task"]["with"]
    options["files"] = _flow(files)
    options["check"] = look.check
    if look.format:
        options["format"] = look.format
    if look.columns is not None:
        options["columns"] = _flow(look.columns)
    if look.answer_pattern is not None:
        options["answer_pattern"] = look.answer_pattern
    if faulty:
        options["broken"] = "skip"
        options.yaml_add_eol_comment(f"{faulty} of {sum(one.rows for one in looks)} rows cannot be used", "broken")
    if look.task == "rows":
        _reward_rows(recipe, look, registry)
    for stage in recipe["train"]:
        size = "batch" if stage["use"] == "sft" else "problems"
        stage["with"][size] = min(stage["with"][size], look.rows - look.faulty)
    _evaluate(recipe, files)
    _set_student(recipe, student)
    kind = f"dialogues in the format {look.format}" if look.format else "questions with answers"
    return _dumped(recipe, f"{Path(files['train']).name}, {kind}", folder)


def _reward_rows(recipe: Any, look: DataLook, registry: Registry) -> None:
    """Tools, teacher and reward for questions: those of the worked solutions, where the rows have any."""
    known = _names_of("math", registry)
    missing = [name for name in look.calls if name not in known]
    if missing:
        raise DataError(
            f"the column of calls names {', '.join(map(repr, missing))}, which no built-in tool is called",
            hint="write the tools, and a recipe with them: `mentorkit new recipe` without data shows how",
        )
    recipe["tools"] = round_trip_yaml().load(
        _CALCULATOR if look.calls or look.check in ("number", "math") else _NO_TOOLS
    )
    recipe["rollout"]["system"] = r"Give the answer in \boxed{}."
    if look.calls:
        recipe.insert(list(recipe).index("reward"), "teacher", "scripted", comment="plays the rows' calls")
        recipe["reward"] = _flow({"use": "mentor"})


def _names_of(tools: str, registry: Registry) -> set[str]:
    built = registry.build("tools", ComponentSpec(use=tools), BuildContext(registry))
    return {getattr(tool, "name", getattr(tool, "__name__", "")) for tool in built}


def _evaluate(recipe: Any, files: Mapping[str, str]) -> None:
    (plan,) = recipe["evaluate"]["on"]
    plan["split"] = "in-domain" if "in-domain" in files else "train"
    if "in-domain" not in files:
        recipe["evaluate"].yaml_add_eol_comment("on rows that are trained on: --test names others", "on")


def _set_student(recipe: Any, student: str) -> None:
    recipe["student"] = _flow({"model": student})
    if student == TINY:
        recipe.yaml_add_eol_comment("for a first try; then a folder, or a hub id (owner/name)", "student")
        return
    # the template's limits are those of a tiny context
    system = recipe["rollout"].get("system")
    recipe["rollout"] = {"max_turns": recipe["rollout"]["max_turns"], **({"system": system} if system else {})}


def _template(task: str) -> Any:
    """The shipped recipe of a task, without the comment that it begins with."""
    text = find_recipe(TEMPLATES[task]).read_text(encoding="utf-8")
    return round_trip_yaml().load(re.sub(r"\A(#.*\n)+", "", text))


def _flow(value: Any) -> Any:
    """A value that is written in one line."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    found = CommentedMap(value) if isinstance(value, Mapping) else CommentedSeq(map(_flow_item, value))
    found.fa.set_flow_style()
    return found


def _flow_item(item: Any) -> Any:
    return _flow(item) if isinstance(item, Mapping | list) else item


def _dumped(recipe: Any, what: str, folder: Path) -> str:
    stream = io.StringIO()
    round_trip_yaml().dump(recipe, stream)
    return HEADER.format(what=what, place=folder / FILE) + stream.getvalue().rstrip() + "\n"


def _file(name: str | Path) -> Path:
    if re.match(r"[a-z]+:/", str(name)):  # of a path, one slash is left
        raise UsageError(f"{name} is an address, and the rows have to be in a file here", hint=_NAMES_NO_DATA)
    path = Path(name).expanduser()
    if path.is_dir():
        raise UsageError(f"{path} is a folder", hint=_NAMES_NO_DATA)
    if not path.exists() and is_hub_id(str(name)):
        raise DataError(
            f"there is no file {path}",
            hint="a recipe names a data set of the hub: `task: {use: conversations, with: {dataset: owner/name}}`",
        )
    (found,) = data_files(path)
    return found


def _from(file: Path, folder: Path) -> str:
    """The path of a file from the new folder."""
    return Path(os.path.relpath(file.resolve(), folder.resolve())).as_posix()


def _slug(path: Path) -> str:
    """A folder's and a run's name, made of a file's."""
    stem = path.resolve().name.partition(".")[0]
    return re.sub(r"[^\w-]+", "-", stem).strip("-_") or "my-recipe"
