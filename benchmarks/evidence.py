"""Makes the tables of docs/evidence.md and README.md from the raw outcomes in benchmarks/outcomes.

    python benchmarks/evidence.py              # print all tables
    python benchmarks/evidence.py --write      # put them into the pages, and draw their figures
    python benchmarks/evidence.py smollm2      # those of one study; `summary` has all students side by side

A table stands in a page between `<!-- table: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import quickstart_study
from evidence_figures import Panel, draw, learning_panel, seeds_panel, similarity_panel, training_panel
from evidence_tables import (
    Outcomes,
    accuracy_sheet,
    call_sheet,
    curve_sheet,
    difference_sheet,
    rise_sheet,
    seed_sheet,
    strategy_sheet,
    summary_sheet,
    training_sheet,
    verdict_sheet,
)
from outcomes import FOLDER, Study

from mentor_kit.report.tables import Sheet

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "evidence.md"
PAGES = (PAGE, ROOT / "README.md")
PICTURES = PAGE.parent / "images"
MARKED = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)

#: The claim's pairs of arms: the teacher-made rewards against what they are to beat.
CLAIMS = (("mentor", "sparse"), ("mentor", "sft"), ("mentor-f1", "sparse"), ("mentor-f1", "sft"))
LONG = ("sparse-long", "mentor-long")
#: Pairs of arms that the paper has not.
DISTILLED = (("distill", "sft"), ("distill", "sparse"), ("distill", "mentor"), ("mentor-sod", "mentor"))

#: The table of all students, by the studies' names.
SUMMARY = "summary"
STUDENTS = {
    "smollm2": "SmolLM2",
    "neutral": "miniature, neutral",
    "causes": "miniature, causes",
    "records": "miniature, records",
}


@dataclass(frozen=True)
class Layout:
    """What is shown of a study."""

    command: str
    """The command that runs it."""
    arms: tuple[str, ...]
    """In the order of tables."""
    base: str
    """The arm before training."""
    starts: tuple[str, ...] = ()
    """Other arms before training; figures leave them out."""
    claims: tuple[tuple[str, str], ...] = CLAIMS
    further: tuple[tuple[str, str], ...] = ()
    """Other pairs of arms, which are not of the claim."""
    per_seed: bool = False
    """Whether rises over `base` are shown for each seed."""
    curves: tuple[str, ...] = ()
    """Arms whose learning curves are shown, out of domain."""
    kinds: tuple[str, ...] = ("accuracy", "claims", "rises", "strategy", "training", "curves")
    """The tables that are shown."""
    drawn: tuple[str, ...] = ()
    """The panels of its figure, if it has one."""

    @property
    def coloured(self) -> list[str]:
        """The arms that figures have colours for: a longer training has that of the shorter one."""
        return [arm for arm in self.arms if arm not in (*self.curves, *self.starts)]

    @property
    def rises(self) -> list[tuple[str, str]]:
        """All other arms, each against the one before training."""
        return [(arm, self.base) for arm in self.arms if arm not in (self.base, *self.starts)]


MINIATURE = ("untrained", "sft", "sparse", "mentor", "mentor-f1", "distill", "mentor-sod", *LONG, "permuted")
LAYOUTS: Mapping[str, Layout] = {
    "quickstart": Layout(
        "python benchmarks/quickstart_study.py",
        tuple(quickstart_study.ARMS),
        "former",
        claims=tuple((arm, "former") for arm in quickstart_study.ARMS if arm != "former"),
        further=(
            ("groups of 4", "recipe"),
            ("groups of 16", "recipe"),
            ("two updates, bonus", "two updates"),
            ("one update, bonus", "two updates, bonus"),
        ),
        kinds=("seeds", "claims"),
    ),
    "smollm2": Layout(
        "make smollm2",
        ("pretrained", "cold-start", "cold-start-2", "sft", "sparse", "mentor", "mentor-f1", "permuted"),
        "cold-start",
        starts=("pretrained", "cold-start-2"),
        per_seed=True,
        drawn=("training", "seeds"),
    ),
    **{
        world: Layout(
            "make miniature",
            MINIATURE,
            "untrained",
            claims=(*CLAIMS, ("mentor-long", "sparse-long")),
            further=DISTILLED,
            curves=LONG,
            drawn=("learning", "longer", "similarity"),
        )
        for world in ("neutral", "causes", "records")
    },
}


NAMES = (SUMMARY, *LAYOUTS)


def tables(folder: Path = FOLDER, studies: Sequence[str] = NAMES) -> Iterator[tuple[str, str]]:
    """The name of each table and its Markdown; where nothing was run, a line that says so."""
    for name in studies:
        if name == SUMMARY:
            yield from ((f"{name}/{kind}", sheet.markdown()) for kind, sheet in summaries(folder))
            continue
        layout = LAYOUTS[name]
        for kind, sheet in sheets(layout, Study(name, folder)):
            yield f"{name}/{kind}", sheet.markdown() if sheet.rows else f"Not run yet: `{layout.command}` does it.\n"


def sheets(layout: Layout, study: Study) -> Iterator[tuple[str, Sheet]]:
    """The tables of a study."""
    outcomes = Outcomes(study.episodes)
    made: Mapping[str, Callable[[], Sheet]] = {
        "accuracy": lambda: accuracy_sheet(outcomes, layout.arms),
        "seeds": lambda: seed_sheet(outcomes, layout.arms, "out-of-domain"),
        "claims": lambda: difference_sheet(outcomes, (*layout.claims, *layout.further)),
        "rises": lambda: (rise_sheet if layout.per_seed else difference_sheet)(outcomes, layout.rises),
        "strategy": lambda: strategy_sheet(outcomes, layout.arms),
        "training": lambda: training_sheet(study.training, layout.arms),
        "curves": lambda: curve_sheet(study.curves, layout.curves, "out-of-domain"),
    }
    for kind in layout.kinds:
        if kind != "curves" or layout.curves:
            yield kind, made[kind]()


def summaries(folder: Path) -> Iterator[tuple[str, Sheet]]:
    """The tables in which all students stand side by side."""
    found = {name: (Outcomes(Study(name, folder).episodes), LAYOUTS[name]) for name in STUDENTS}
    accuracies = {STUDENTS[name]: (outcomes, layout.base) for name, (outcomes, layout) in found.items()}
    arms = [arm for arm in MINIATURE if arm not in ("untrained", *LONG)]
    yield "accuracy", summary_sheet(accuracies, arms, "out-of-domain")
    claims = {STUDENTS[name]: (outcomes, layout.claims) for name, (outcomes, layout) in found.items()}
    yield "claims", verdict_sheet(claims, ("out-of-domain", "cross-domain"))
    yield "calls", call_sheet(claims, "out-of-domain")


def panels(layout: Layout, study: Study) -> list[Panel]:
    """The panels of a study's figure; none where nothing was run, or it has no figure."""
    outcomes = Outcomes(study.episodes)
    if not outcomes.rows:
        return []
    order = layout.coloured
    longer = {arm.removesuffix("-long"): arm for arm in layout.curves}
    made: Mapping[str, Callable[[], Panel]] = {
        "learning": lambda: learning_panel(study.curves, {arm: arm for arm in order}, "Out of domain, greedy", order),
        "longer": lambda: learning_panel(study.curves, longer, "Three times the steps", order),
        "similarity": lambda: similarity_panel(outcomes, order, "Accuracy and similarity"),
        "training": lambda: training_panel(study.training, order, "Right rollouts in training"),
        "seeds": lambda: seeds_panel(outcomes, order, "Out of domain, greedy"),
    }
    return [made[kind]() for kind in layout.drawn]


def draw_figures(target: Path = PICTURES, folder: Path = FOLDER) -> list[Path]:
    """Draw the figure of each study that was run."""
    found = {name: panels(layout, Study(name, folder)) for name, layout in LAYOUTS.items()}
    return [draw(target / f"evidence-{name}.svg", made, LAYOUTS[name].coloured) for name, made in found.items() if made]


def filled(page: str, made: Mapping[str, str]) -> str:
    """The page with its tables replaced.

    Raises:
        KeyError: it marks a table that there is not.
    """
    return MARKED.sub(lambda found: f"{found[1]}\n{made[found[2]].strip()}\n\n{found[3]}", page)


def main() -> None:
    """Print the tables, or put them into the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="*", default=list(NAMES), metavar="STUDY", help=", ".join(NAMES))
    parser.add_argument("--write", action="store_true", help="put all tables into the pages, and draw")
    parser.add_argument("--outcomes", type=Path, default=FOLDER)
    options = parser.parse_args()
    if unknown := sorted({*options.studies} - {*NAMES}):
        parser.error(f"there is no study {unknown[0]!r}; there are {', '.join(NAMES)}")
    if options.write:
        made = dict(tables(options.outcomes))
        for page in PAGES:
            page.write_text(filled(page.read_text(encoding="utf-8"), made), encoding="utf-8")
        draw_figures(PICTURES, options.outcomes)
        return
    for name, table in tables(options.outcomes, options.studies):
        print(f"{name}\n\n{table}")


if __name__ == "__main__":
    main()
