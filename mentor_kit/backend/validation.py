"""What every backend refuses before its model sees it.

Requests and groups that no model of that size could take, targets that no layer has, and adapters in folders that say
more than a backend reads.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from mentor_kit.backend.sampling import SampleRequest
from mentor_kit.backend.token_groups import TokenGroup
from mentor_kit.core.errors import BackendError, MissingError, did_you_mean
from mentor_kit.core.frozen_model import Json

ADAPTER_CONFIG = "adapter_config.json"
#: Keys of peft's adapter_config.json that say what LoRA computes; backends read them as peft does.
LORA_KEYS = frozenset(
    (
        "alpha_pattern",
        "bias",
        "exclude_modules",
        "fan_in_fan_out",
        "init_lora_weights",
        "layers_pattern",
        "layers_to_transform",
        "lora_alpha",
        "lora_dropout",
        "r",
        "rank_pattern",
        "target_modules",
        "use_dora",
        "use_rslora",
    )
)
#: Keys of peft's adapter_config.json that do not bear on what an adapter computes, or do so only beside another key.
DESCRIPTIVE = frozenset(
    (
        "auto_mapping",
        "base_model_name_or_path",
        "corda_config",
        "eva_config",
        "inference_mode",
        "loftq_config",
        "lora_ga_config",
        "megatron_core",
        "peft_type",
        "peft_version",
        "qalora_group_size",
        "revision",
        "runtime_config",
        "task_type",
    )
)


def check_request(request: SampleRequest, *, vocabulary: int, context: int) -> None:
    """Refuse what cannot be sampled.

    Args:
        request: about to be queued.
        vocabulary: the number of tokens the model knows.
        context: the longest context in tokens.

    Raises:
        BackendError: it has no context or no token to sample, or does not fit the vocabulary or the context.
    """
    count = len(request.context)
    if not count or request.max_new_tokens < 1:
        raise BackendError(f"request {request.id} has no {'context' if not count else 'token to sample'}")
    if not 0 <= min(request.context) <= max(request.context) < vocabulary:
        raise _outside(f"request {request.id}: a token id", vocabulary)
    if count + 1 > context:
        raise BackendError(
            f"request {request.id}: {count} tokens of context leave no room to speak in a context of {context}",
            hint="shorten the prompt, or raise `backend.max_context` if the model allows it",
        )


def check_groups(groups: Sequence[TokenGroup], *, vocabulary: int, context: int) -> None:
    """Refuse what cannot be trained on; arguments as for `check_request`.

    Raises:
        BackendError: a prompt is empty, or a group does not fit the vocabulary or the context.
    """
    for group in groups:
        longest = len(group.prompt_ids) + max((len(c.ids) for c in group.completions), default=0)
        if longest > context:
            raise BackendError(f"a sequence of {longest} tokens exceeds the context of {context}")
        if not len(group.prompt_ids):
            raise BackendError("a group has an empty prompt: nothing predicts its first token")
        for ids in (group.prompt_ids, *(c.ids for c in group.completions)):
            if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < vocabulary:
                raise _outside("a token id", vocabulary)


def is_target(name: str, targets: Sequence[str]) -> bool:
    """Whether a module's full name is one of the targets, or ends with one, as peft has it."""
    return any(name == target or name.endswith(f".{target}") for target in targets)


def check_targets(targets: Sequence[str], layers: Iterable[str], others: Mapping[str, str]) -> None:
    """Refuse a target that no layer has, also beside others that fit.

    Args:
        targets: an adapter's.
        layers: full names of the modules that can be adapted.
        others: the kind of every other module, by its full name.

    Raises:
        BackendError: naming the target and the layers there are.
    """
    fitting = list(layers)
    known = sorted({name.rpartition(".")[2] for name in fitting})
    for target in targets:
        if any(is_target(name, (target,)) for name in fitting):
            continue
        kind = next((kind for name, kind in others.items() if is_target(name, (target,))), None)
        close = did_you_mean(target, fitting if "." in target else known)
        wrong = f"no layer is called {target!r}" if kind is None else f"{target!r} is a {kind}"
        raise BackendError(
            f"student.adapter.targets: {wrong}{close}",
            hint=f"layers that can be adapted: {', '.join(known)}",
        )


def other_dtype(folder: Path, saved: str, own: str) -> str | None:
    """What a policy should be warned of that is restored in another floating-point type than it was saved in."""
    if saved == own:
        return None
    return (
        f"{folder} was saved in {saved} and goes on in {own}: trained weights go on exactly where an optimizer keeps "
        "them in float32, but what the model computes is rounded otherwise from here on"
    )


def read_adapter_config(folder: Path) -> dict[str, Json]:
    """What an adapter's folder says of it.

    Raises:
        MissingError: there is no such file.
        BackendError: it is no JSON object.
    """
    file = folder / ADAPTER_CONFIG
    if not file.is_file():
        raise MissingError(
            f"student.adapter: {folder} has no {ADAPTER_CONFIG}",
            hint="name a folder that peft, mlx-lm or `mentorkit export --format adapter` has written",
        )
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BackendError(f"student.adapter: {file} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise BackendError(f"student.adapter: {file} is no adapter's configuration: it holds no object")
    return config


def check_peft_config(config: Mapping[str, Json], folder: Path, understood: Collection[str]) -> None:
    """Refuse an adapter of peft that would be read as another one.

    Args:
        config: of its folder.
        folder: for messages.
        understood: the keys that are read as peft reads them; others may only be empty, or describe.

    Raises:
        BackendError: naming the key.
    """
    if str(config.get("peft_type")).upper() != "LORA":
        raise unread(folder, "peft_type", config.get("peft_type"))
    for key, value in config.items():
        # an empty configuration of a variant still asks for the variant, by its defaults
        is_empty = value in (None, False, []) or (value == {} and not key.endswith("_config"))
        if key not in understood and key not in DESCRIPTIVE and not is_empty:
            raise unread(folder, key, value)


def unread(folder: Path, key: str, value: Json) -> BackendError:
    """An adapter's configuration says something that is not read as peft reads it."""
    said = json.dumps(value)
    said = said if len(said) <= 60 else f"{said[:59]}…"
    return BackendError(
        f"student.adapter: {folder / ADAPTER_CONFIG}: `{key}: {said}` is not supported here",
        hint="merge the adapter into its model by peft's `merge_and_unload`, and train on from that",
    )


def _outside(what: str, vocabulary: int) -> BackendError:
    return BackendError(
        f"{what} is outside the model's vocabulary of {vocabulary}",
        hint="check that tokenizer and model belong together",
    )
