"""The page's tab about other rewards: its data are those that rescoring kept in the run folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from rescore_helpers import write_run

from mentor_kit import api
from mentor_kit.report.page import RunPage, write_page

sys.path.append(str(Path(__file__).parents[1] / "page"))

STEPS = [
    [["as the teacher", "right with other tools", "wrong", "not ended"], ["wrong"] * 4],
    [["as the teacher", "as the teacher", "no answer", "invents a tool"], ["not ended"] * 4],
]


def test_a_run_has_the_tab_once_it_was_rescored(tmp_path: Path) -> None:
    run = write_run(tmp_path, STEPS)
    page = RunPage(run)
    before = page.version
    assert page.index()["rescore"] is None
    result = api.rescore(run, rewards=["sparse"], keep=True)
    found = page.index()["rescore"]["rollouts"]
    assert [reward["mean"] for reward in found["rewards"]] == [reward.mean for reward in result.rewards]
    assert found["reproduction"]["exact"] is True
    assert page.version != before


def test_a_report_can_rescore(tmp_path: Path) -> None:
    run = write_run(tmp_path, STEPS)
    api.report(run, tmp_path / "run.html", rescored=["sparse", "mentor-f1"])
    found = RunPage(run).index()["rescore"]["rollouts"]
    assert [reward["name"] for reward in found["rewards"]] == ["mentor", "sparse", "mentor-f1"]


@pytest.mark.slow
def test_the_tab_in_a_browser(tmp_path: Path) -> None:
    from browser import Tab, chromium

    run = write_run(tmp_path, STEPS)
    result = api.rescore(run, rewards=["sparse"], keep=True)
    write_page([run], tmp_path / "run.html")
    with chromium() as browser:
        tab = Tab(browser, f"file://{tmp_path / 'run.html'}")
        tab.show(tab="rescore")
        assert tab.attributes("[data-exact]", "data-exact") == ["true"]
        own, sparse = (tab.texts(f"section.block table >> nth=0 >> tbody tr >> nth={row} >> td") for row in (0, 1))
        assert own[0].endswith("(own)")
        assert sparse[1] == f"{result.rewards[1].mean:.3f}"
        # a listed episode leads to its dialogue
        change = result.rewards[1].gained[0]
        tab.page.click(f'main a[href*="{change.problem}"] >> nth=0')
        tab.settle()
        assert (tab.place["tab"], tab.place["problem"], tab.place["attempt"]) == (
            "rollouts",
            change.problem,
            str(change.attempt),
        )
        assert tab.complaints == []
        tab.close()
