"""Writes a student's card as `README.md`."""

from __future__ import annotations

from pathlib import Path

from mentor_kit.report.model_card.metadata import card_data
from mentor_kit.report.model_card.sections import card_text
from mentor_kit.report.model_card.student_card import StudentCard

#: The file that the hub shows as a model's page.
CARD = "README.md"


def write_card(folder: Path, card: StudentCard, *, license: str | None = None) -> Path:
    """Write a card into an exported folder.

    Args:
        folder: the export.
        card: the facts.
        license: the hub's identifier of a licence; none is named if left out.

    Returns:
        The file.

    Raises:
        ImportError: huggingface_hub is not installed.
    """
    from huggingface_hub import ModelCard

    metadata = card_data(card, license=license).to_yaml()
    # read back by the library, so that metadata that the hub would refuse fails here
    found = ModelCard(f"---\n{metadata}\n---\n\n{card_text(card)}")
    file = folder / CARD
    file.write_text(str(found), encoding="utf-8")
    return file
