"""The pictures of the page in README and docs: a run's report in a browser without a window, and on a telephone.

    make pictures RUN=runs/quickstart/<id>
    python benchmarks/pictures.py runs/quickstart/<id> --output docs/images
    python benchmarks/pictures.py <run> <run> --prefix smollm2 --views evaluations --scheme light

The pictures choose their places themselves: a step's wrong attempt that got more than its group's mean, beside the
teacher's work; its tokens; the evaluations with the problems that were learnt. It needs playwright and a chromium.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from mentor_kit import api
from mentor_kit.report.page import RunPage
from mentor_kit.runs import Run

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
VIEWS = ("overview", "rollouts", "tokens", "evaluations", "telephone")


@dataclass(frozen=True)
class Picture:
    """A picture: what it shows, the place in the page, and the window."""

    view: str
    place: Mapping[str, object] = field(default_factory=dict)
    width: int = 1280
    height: int = 800
    dark: bool = False


def main() -> None:
    """Make the report and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", help="run folders, or recipes' names for their newest runs")
    parser.add_argument("--output", type=Path, default=Path("docs/images"))
    parser.add_argument("--scale", type=float, default=1.25, help="pixels of the picture for each of the page")
    parser.add_argument("--prefix", default="page", help="how the files' names begin")
    parser.add_argument("--views", nargs="+", choices=VIEWS, default=VIEWS)
    parser.add_argument("--scheme", choices=("light", "dark"), help="of all pictures; each has its own if left out")
    options = parser.parse_args()
    runs = [Run.open(run) for run in options.runs]
    wanted = {
        options.output / f"{options.prefix}-{one.view}.png": one for one in pictures(runs) if one.view in options.views
    }
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        page = api.report(runs, Path(folder) / "run.html")
        take(page.path, wanted, options.scale, options.scheme)


def pictures(runs: Sequence[Run]) -> list[Picture]:
    """The pictures of a page: rollouts are the last run's, evaluations those of all."""
    step, problem, attempt = telling_attempt(runs[-1])
    rollout = {"tab": "rollouts", "run": len(runs) - 1, "step": step, "problem": problem, "attempt": attempt}
    plans = RunPage(runs[0]).index()["evaluations"]["plans"]
    plan = plans[-1] if plans else {"name": "", "checkpoints": []}
    evaluation = {"tab": "evaluations", "plan": plan["name"]}
    if len(plan["checkpoints"]) > 1:  # the first evaluation beside the last
        evaluation |= {"changed": "gained", "beside": f"0:{plan['checkpoints'][0]['name']}"}
    return [
        Picture("overview", {"tab": "overview"}, height=940),
        Picture("rollouts", rollout),
        Picture("tokens", rollout | {"view": "tokens"}),
        Picture("evaluations", evaluation, dark=True),
        Picture("telephone", rollout, width=390, height=800),
    ]


def telling_attempt(run: Run) -> tuple[str, str, int]:
    """The step, problem and place of the best-paid wrong attempt among those that got more than their group's mean.

    Where there is none, the first attempt at the last step's last problem.
    """
    page = RunPage(run)
    best: tuple[tuple[float, float], str, str, int] | None = None
    last = ("", "", 0)
    for step in page.index()["rollouts"]["steps"]:
        for problem in page.chunk(f"rollouts/{step['key']}")["problems"]:
            totals = [attempt["reward"]["total"] for attempt in problem["attempts"]]
            for place, attempt in enumerate(problem["attempts"]):
                worth = (totals[place], totals[place] - sum(totals) / len(totals))
                if "raised" in attempt["flags"] and (best is None or worth > best[0]):
                    best = (worth, step["key"], problem["id"], place)
            last = (step["key"], problem["id"], 0)
    return last if best is None else best[1:]


def take(page: Path, wanted: Mapping[Path, Picture], scale: float, scheme: str | None) -> None:
    """Open the page at each place and save a picture of it, by the pictures' files."""
    from playwright.sync_api import sync_playwright

    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        sys.exit(f"none of {', '.join(BROWSERS)} is installed: apt-get install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        for file, picture in wanted.items():
            context: Any = browser.new_context(
                viewport={"width": picture.width, "height": picture.height},
                color_scheme=scheme or ("dark" if picture.dark else "light"),
                device_scale_factor=scale,
            )
            tab = context.new_page()
            tab.goto(f"{page.absolute().as_uri()}#{urlencode(picture.place)}")
            while not tab.evaluate(
                "typeof MentorKit === 'object' && MentorKit.settled !== undefined && MentorKit.settled()"
            ):
                tab.wait_for_timeout(20)
            tab.wait_for_timeout(200)
            tab.screenshot(path=file)
            context.close()
            print(file)
        browser.close()


if __name__ == "__main__":
    main()
