"""The tokens of rollouts for the page: small, and with the strings that they stand for."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from mentor_kit.core.frozen_model import Json

#: Log-probabilities are kept in thousandths of a nat.
UNIT = 1000


def compact_tokens(trace: dict[str, Any]) -> dict[str, Json]:
    """A trajectory's tokens without their prompt.

    Returns:
        `ids`; `spans`, the lengths of alternating spans, first of sampled tokens (mask 1; perhaps 0 of them), then of
        inserted ones; `nats`, for the sampled tokens alone, minus the log-probability in thousandths of a nat.
    """
    mask, log_probs = trace["mask"], trace["log_probs"]
    spans: list[int] = [0]
    current = 1
    for value in mask:
        if value != current:
            spans.append(0)
            current = value
        spans[-1] += 1
    nats = [round(-UNIT * value) for value, sampled in zip(log_probs, mask, strict=True) if sampled]
    return {"ids": trace["ids"], "spans": spans, "nats": nats, "temperature": trace["temperature"]}


def read_vocabulary(folder: Path | None, ids: Collection[int] | None = None) -> dict[str, str]:
    """The strings of token ids, from a model folder's `tokenizer.json`; empty where there is none that can be read.

    Bytes that are no whole character alone are shown as `�`.

    Args:
        folder: the model's folder; None for no strings.
        ids: those wanted; all if left out.
    """
    if folder is None:
        return {}
    try:
        tokenizer = json.loads((folder / "tokenizer.json").read_bytes())
        model = tokenizer["model"]["vocab"]
        pairs = model.items() if isinstance(model, dict) else ((piece, place) for place, (piece, _) in enumerate(model))
        byte_level = '"ByteLevel"' in json.dumps([tokenizer.get("decoder"), tokenizer.get("pre_tokenizer")])
        found = {number: _string(piece, byte_level) for piece, number in pairs if ids is None or number in ids}
        for token in tokenizer.get("added_tokens", ()):
            if ids is None or token["id"] in ids:
                found[token["id"]] = token["content"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {str(number): string for number, string in sorted(found.items())}


def _string(piece: str, byte_level: bool) -> str:
    if byte_level:
        try:
            return bytes(_BYTES[character] for character in piece).decode(errors="replace")
        except KeyError:
            return piece
    return piece.replace("▁", " ")


def _byte_characters() -> dict[str, int]:
    """GPT-2's characters for bytes: the printable ones stand for themselves, the others follow after 255."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}


_BYTES = _byte_characters()
