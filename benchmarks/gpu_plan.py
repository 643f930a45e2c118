"""The dry runs of the recipes for one GPU, as docs/gpu.md and docs/paper.md show them: on paper, no measurement.

    python benchmarks/gpu_plan.py               # print the table, and the plans that the pages quote
    python benchmarks/gpu_plan.py --write       # put them into the pages

Students are known by their published configurations, and prompts are those of the tiny student's tokenizer, so that
neither a hub nor a GPU is needed; those of the paper's recipes are of the arithmetic world. A page has a plan between
`<!-- plan: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scale_plan import COMMON, MODELS

from mentor_kit import api
from mentor_kit.core.component import ComponentSpec
from mentor_kit.hooks import BuildContext
from mentor_kit.hooks.loader import default_registry
from mentor_kit.recipe.plan import RunPlan
from mentor_kit.report.tables import Sheet

DOCS = Path(__file__).parents[1] / "docs"
PAGES = (DOCS / "gpu.md", DOCS / "paper.md")
MARKED = re.compile(r"(<!-- plan: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
GIB = 1 << 30

#: Published configurations of students by the beginning of a recipe's name; the first is of Qwen/Qwen3-0.6B.
CONFIGS = {
    "qwen3-0.6b": {
        "num_hidden_layers": 28, "hidden_size": 1024, "intermediate_size": 3072, "num_attention_heads": 16,
        "tie_word_embeddings": True,
    },
    "qwen3-1.7b": MODELS["Qwen3-1.7B"],
    "qwen3-8b": MODELS["Qwen3-8B"],
}  # fmt: skip

#: A GPU, a recipe, and what it trains.
ROWS = (
    ("rtx-4090", "qwen3-0.6b", "all weights"),
    ("rtx-4090", "qwen3-1.7b-8bit", "all weights, moments in 8 bits"),
    ("rtx-4090", "qwen3-1.7b-lora", "adapter"),
    ("rtx-4090", "qwen3-8b-qlora", "adapter, 4 bits"),
    ("rtx-4090", "qwen3-8b-lora", "adapter"),
    ("l40s", "qwen3-1.7b", "all weights"),
    ("h100", "qwen3-1.7b", "all weights"),
    ("h100", "qwen3-8b-lora", "adapter"),
)
#: The recipe of the paper whose plan is shown.
PAPER = "paper/qwen3-1.7b/mentor"
#: The plan that does not fit, for which the page says what to change.
TOO_LARGE = ("rtx-4090", "qwen3-1.7b")


@contextmanager
def student(recipe: str) -> Iterator[Path]:
    """The folder of a recipe's student: a configuration and the tiny student's tokenizer, no weights."""
    registry = default_registry()
    tiny = Path(registry.build("students", ComponentSpec(use="tiny-student"), BuildContext(registry=registry)))
    (config,) = (value for name, value in CONFIGS.items() if recipe == name or recipe.startswith(f"{name}-"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in tiny.iterdir():
            if file.suffix in (".json", ".jinja") and file.name != "config.json":
                shutil.copyfile(file, folder / file.name)
        (folder / "config.json").write_text(json.dumps(COMMON | config), encoding="utf-8")
        yield folder


def planned(gpu: str, recipe: str) -> RunPlan:
    """The plan of a recipe on a GPU."""
    with student(recipe) as folder:
        return api.plan(f"gpu/{recipe}", overrides={"student.model": str(folder)}, gpu=gpu)


def table() -> Sheet:
    """What fits, and how long a step takes at most."""
    header = ("GPU", "recipe", "trained", "memory", "sequences at once", "a step at most")
    return Sheet("", header, tuple(row(*each) for each in ROWS), left=3)


def row(gpu: str, recipe: str, trained: str) -> tuple[str, ...]:
    """A recipe on a GPU; it fits, or this ends."""
    plan = planned(gpu, recipe)
    assert plan.fits
    assert plan.memory is not None
    assert plan.device is not None
    (work,) = (each.work for each in plan.times)
    rows = "all" if work.rows >= work.sequences else f"{work.rows}"
    longest = re.search(r"at most (.+?) on ", plan.text())
    assert longest is not None
    size = f"{plan.device.bytes / GIB:.0f} GB ({plan.device.device})"
    return size, f"`gpu/{recipe}`", trained, f"{plan.memory.total / GIB:.1f} GiB", rows, longest[1]


def quoted(gpu: str, recipe: str) -> str:
    """A plan's lines from its memory on, with the command."""
    lines = planned(gpu, recipe).text().splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("memory"))
    return "\n".join(("```", f"$ mentorkit run gpu/{recipe} --dry-run --gpu {gpu}", *lines[start:], "```"))


def quoted_paper(memory: int = 24) -> str:
    """The plan of the paper's recipe on a GPU of so many GB."""
    world = {"task": {"use": "arithmetic"}, "tools": [{"use": "math"}], "teacher": {"use": "scripted"}}
    with student("qwen3-1.7b") as folder:
        plan = api.plan(PAPER, overrides={"student.model": str(folder), **world}, memory=memory)
    lines = plan.text().splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("memory"))
    return "\n".join(("```", f"$ mentorkit run {PAPER} --dry-run --memory {memory}", *lines[start:], "```"))


def parts() -> dict[str, str]:
    """All that the page shows, by name."""
    plans = {f"{gpu}/{recipe}": quoted(gpu, recipe) for gpu, recipe, _ in ROWS}
    return {
        "table": table().markdown().strip(),
        PAPER: quoted_paper(),
        "/".join(TOO_LARGE): quoted(*TOO_LARGE),
        "all": "\n\n".join(plans.values()),
    }


def filled(page: str, made: dict[str, str]) -> str:
    """A page with its plans replaced."""
    return MARKED.sub(lambda found: f"{found[1]}\n{made[found[2]]}\n\n{found[3]}", page)


def main() -> None:
    """Print the plans, or put them into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put all into the pages")
    options = parser.parse_args()
    made = parts()
    if options.write:
        for page in PAGES:
            page.write_text(filled(page.read_text(encoding="utf-8"), made), encoding="utf-8")
        return
    print("\n\n".join(made.values()))


if __name__ == "__main__":
    main()
