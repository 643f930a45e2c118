"""The `generation_config.json` of an exported student: other programs sample as it was sampled in training."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path

from mentor_kit.core.frozen_model import Json
from mentor_kit.rollout import Sampling

FILE = "generation_config.json"

#: Settings that are the model's own. All others of its base model change how tokens are drawn, and are left out.
_OWN = ("bos_token_id", "pad_token_id", "decoder_start_token_id", "use_cache", "transformers_version")


def write_generation_config(folder: Path, sampling: Sampling, stop_ids: Collection[int]) -> None:
    """Write the sampling of training into the folder of a whole model, in place of its base model's.

    Args:
        folder: in the format of transformers or mlx-lm; without a `config.json`, as an adapter's, it stays as it is.
        sampling: of training rollouts.
        stop_ids: the tokens that end a turn; those that end a text by the base model's configuration are added.
    """
    if not (folder / "config.json").is_file():
        return
    before = _read(folder / FILE)
    ends = {*stop_ids, *_ids(before.get("eos_token_id")), *_ids(_read(folder / "config.json").get("eos_token_id"))}
    config: dict[str, Json] = {key: before[key] for key in _OWN if before.get(key) is not None}
    config |= {"eos_token_id": sorted(ends), "do_sample": sampling.temperature > 0}
    if sampling.temperature > 0:
        # transformers keeps the 50 most likely tokens where `top_k` is left out
        config |= {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k}
    (folder / FILE).write_text(json.dumps(dict(sorted(config.items())), indent=2) + "\n", encoding="utf-8")


def _read(file: Path) -> Mapping[str, Json]:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _ids(value: Json) -> list[int]:
    """Ids of tokens, which configurations have alone or as a list."""
    return [] if value is None else [value] if isinstance(value, int) else list(value)
