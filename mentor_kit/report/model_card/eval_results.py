"""Results on benchmarks of the hub, as files that the hub lists on a model's page and on the benchmark's leaderboard.

The form is that of https://huggingface.co/docs/hub/eval-results. It names a data set that the hub has as a benchmark,
so only evaluations that the caller says are of one are written. All others are in the card's own metadata.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mentor_kit.backend.base_model import is_hub_id
from mentor_kit.core.errors import UsageError
from mentor_kit.recipe.yaml_writer import to_yaml
from mentor_kit.report.model_card.results import AccuracyResult
from mentor_kit.report.model_card.student_card import StudentCard

#: The file, inside the folder that the hub reads.
FILE = Path(".eval_results") / "mentor-kit.yaml"


@dataclass(frozen=True)
class Benchmark:
    """A task of a benchmark on the hub."""

    dataset: str
    """The data set's id, `owner/name`."""
    task: str = "default"
    """The task's id in the data set's `eval.yaml`."""

    @staticmethod
    def parse(text: str) -> Benchmark:
        """The benchmark that a string names, `owner/dataset` or `owner/dataset:task`.

        Raises:
            UsageError: it has another form.
        """
        dataset, colon, task = text.partition(":")
        if not is_hub_id(dataset) or (colon and not task):
            raise UsageError(
                f"{text!r} is no benchmark on the hub", hint="give owner/dataset or owner/dataset:task, as openai/gsm8k"
            )
        return Benchmark(dataset, task or "default")


def parse_benchmarks(strings: Iterable[str], flag: str = "--benchmark") -> dict[str, str]:
    """Benchmarks by the names of evaluations' plans, from strings such as `test=openai/gsm8k:default`.

    Raises:
        UsageError: a string has no `=`.
    """
    found = {}
    for string in strings:
        plan, equals, benchmark = string.partition("=")
        if not equals or not plan:
            raise UsageError(
                f"{flag} {string}: expected EVALUATION=OWNER/DATASET", hint=f"for example {flag} test=openai/gsm8k"
            )
        found[plan] = benchmark
    return found


def write_eval_results(folder: Path, card: StudentCard, benchmarks: Mapping[str, Benchmark]) -> None:
    """Write the greedy accuracy of a student on benchmarks, in percent, into its exported folder.

    Args:
        folder: the export.
        card: with the results.
        benchmarks: by the names of the evaluations' plans; no file is written where there is none.

    Raises:
        ImportError: huggingface_hub is not installed.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    entries = [
        EvalResultEntry(
            dataset_id=benchmarks[result.plan].dataset,
            task_id=benchmarks[result.plan].task,
            value=round(100 * result.after.accuracy, 2),
            notes=_notes(card, result),
        )
        for result in card.results
        if result.plan in benchmarks and result.kind == "greedy"
    ]
    if entries:
        (folder / FILE).parent.mkdir(exist_ok=True)
        (folder / FILE).write_text(to_yaml(eval_result_entries_to_yaml(entries)), encoding="utf-8")


def _notes(card: StudentCard, result: AccuracyResult) -> str:
    measured = result.after
    tools = "tools" if card.tools else "no tools"
    interval = f"95 % interval {100 * measured.low:.1f} to {100 * measured.high:.1f}"
    return f"{tools}, greedy, {measured.problems} problems, {interval}"
