"""The card of an exported student: a README.md with metadata that the hub reads and text that people read.

run, recipe, evaluations ──student_card──> StudentCard ──card_data──> metadata ─┐
                                                       └─card_text──> text ──────┴─write_card──> README.md
"""

from __future__ import annotations

from mentor_kit.report.model_card.eval_results import Benchmark, write_eval_results
from mentor_kit.report.model_card.readme import CARD, write_card
from mentor_kit.report.model_card.student_card import PLACEHOLDER, StudentCard, student_card

__all__ = [
    "CARD",
    "PLACEHOLDER",
    "Benchmark",
    "StudentCard",
    "student_card",
    "write_card",
    "write_eval_results",
]
