"""Dialogues, tokens and evaluations of the page in a real browser; nothing that a run wrote does anything."""

import pytest
from browser import shown_calls
from page_helpers import GROUP, HOSTILE, SPLITS, write_page_run

pytestmark = pytest.mark.slow


def test_calls_of_one_alone_are_marked(small, open_page):
    tab = open_page(small)
    marks = {}
    for attempt in range(GROUP):
        tab.show(tab="rollouts", step="0-grpo/1", problem="train-1-0", attempt=attempt)
        marks[attempt] = [
            tab.attributes(f'[data-column="{column}"] .call', "data-mark") for column in ("student", "teacher")
        ]
    assert marks == {
        0: [["same"], ["same"]],
        1: [["tool"], ["tool"]],
        2: [["tool", "arguments"], ["arguments"]],
        3: [[], ["tool"]],
    }


def test_tokens(small, open_page):
    tab = open_page(small)
    tab.show(tab="rollouts", step="0-grpo/1", view="tokens")
    stream = ".tokens > .stream .token"
    assert tab.texts(stream) == ["a", " b", "↵\n", "<|im_end|>", "plain", "a"]
    assert [float(nats) for nats in tab.attributes(f"{stream}.trained", "data-nats")] == [0.5, 0.25, 0.001, 2.0]
    assert tab.texts(f"{stream}.masked") == ["↵\n", "<|im_end|>"]


@pytest.mark.parametrize(
    ("text", "shown", "code"),
    [
        ("lower `train.0.lr` or `kl`", "lower train.0.lr or kl", ["train.0.lr", "kl"]),
        ("one ` alone", "one ` alone", []),
        ("`<b>x</b>`", "<b>x</b>", ["<b>x</b>"]),
    ],
)
def test_what_stands_between_backticks_in_notes_is_code(open_page, tmp_path, text, shown, code):
    tab = open_page(write_page_run(tmp_path, text))
    assert tab.texts(".notes p")[0].endswith(f"a note: {shown}")
    assert tab.texts(".notes code") == code


def test_evaluations_show_flips(small, open_page):
    tab = open_page(small)
    tab.show(tab="evaluations", plan="in-domain")
    rows = {
        name: [sign == "✓" for sign in tab.texts(f'.grid .row[data-problem="{name}"] button.cell')]
        for name in tab.attributes(".grid .row:not(.heads)", "data-problem")
    }
    assert rows == {
        f"in-domain-{place}": [place * 2 < step + 1 for step in (0, 2, 4)] for place in range(SPLITS["in-domain"])
    }
    tab.page.select_option('select[aria-label="show"]', "gained")
    tab.settle()
    assert tab.attributes(".grid .row:not(.heads)", "data-problem") == ["in-domain-1", "in-domain-2"]
    # the cell of the first checkpoint opens its dialogue; the last is put beside it
    tab.page.click('.row[data-problem="in-domain-2"] button.cell >> nth=0')
    tab.settle()
    assert tab.attributes(".attempt .chip", "class")[0] == "chip wrong"
    tab.page.select_option('select[aria-label="beside"]', label="step 4")
    tab.settle()
    assert [len(shown_calls(tab, column)) for column in ("student", "beside", "teacher")] == [2, 1, 1]
    tab.show(tab="evaluations", plan="in-domain")
    tab.page.select_option('select[aria-label="decoding"]', "sampled")
    tab.settle()
    assert "sampled" in tab.text(".attempt h2 small")


def test_several_runs_side_by_side(open_page, tmp_path):
    tab = open_page(write_page_run(tmp_path, seed=0), write_page_run(tmp_path, seed=3))
    assert "+" in "".join(tab.texts("table"))
    assert len(tab.texts("select[aria-label=run] option")) == 2
    tab.show(tab="evaluations", plan="in-domain", problem="in-domain-1")
    assert tab.texts('.row[data-problem="in-domain-1"] button.cell') == ["", "✓", "✓", "", "", ""]
    assert len(tab.texts(".column")) == 3
    tab.show(tab="rollouts", run="1", step="0-grpo/2", problem="train-2-1")
    assert tab.attributes(".attempt", "data-id") == ["train-2-1#0"]


def test_markup_and_scripts_of_a_run_stay_text(open_page, tmp_path):
    folder = write_page_run(tmp_path, HOSTILE, name="hostile")
    tab = open_page(folder)
    for place in (
        {"tab": "overview"},
        *(
            {"tab": "rollouts", "step": "0-grpo/1", "problem": "train-1-1", "attempt": attempt}
            for attempt in range(GROUP)
        ),
        {"tab": "rollouts", "step": "0-grpo/1", "view": "tokens"},
        {"tab": "evaluations", "plan": "in-domain"},
        {"tab": "evaluations", "plan": "in-domain", "decoding": "sampled", "beside": "0:0-grpo-000000-in-domain"},
        {"tab": "recipe"},
    ):
        tab.show(**place)
        assert HOSTILE in tab.page.evaluate("document.getElementById('main').textContent")
        assert tab.page.evaluate("window.hit") is None
        for made in (
            "img",
            "svg",
            "script",
            "style",
            "iframe",
            "object",
            "a[href^='javascript']",
            "[onerror]",
            "[onload]",
        ):
            assert tab.texts(f"#main {made}, #header {made}") == []
        assert tab.page.is_visible("#header")
    tab.show(tab="rollouts", step="0-grpo/1", problem="train-1-1", attempt=0)
    assert tab.text('[data-field="answer"]') == f"3 {HOSTILE}"
    assert tab.text('[data-field="key"]') == f"3 {HOSTILE}"


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(
    "place",
    [
        {"tab": "overview"},
        {"tab": "rollouts", "attempt": 2},
        {"tab": "rollouts", "view": "tokens"},
        {"tab": "evaluations"},
        {"tab": "recipe"},
    ],
)
def test_a_telephone(small, open_page, place, dark):
    tab = open_page(small, width=390, height=800, dark=dark)
    tab.show(**place)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 390
    back, text = (tab.page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color"))
    light = [sum(map(int, colour[4:-1].split(","))) > 384 for colour in (back, text)]
    assert light == [not dark, dark]


def test_light_and_dark_by_hand(small, open_page):
    tab = open_page(small)
    tab.page.click('button[aria-label="light or dark"]')
    tab.settle()
    assert tab.page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_a_click_into_a_chart_opens_the_step(small, open_page):
    tab = open_page(small)
    chart = tab.page.locator("figure.card", has_text="Reward by term").locator(".u-over")
    box = chart.bounding_box()
    chart.click(position={"x": box["width"] - 2, "y": box["height"] / 2})
    tab.settle()
    assert (tab.place["tab"], tab.place["step"]) == ("rollouts", "0-grpo/4")
