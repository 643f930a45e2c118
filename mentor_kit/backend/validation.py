"""Checks of requests and token groups before a model runs them."""

from __future__ import annotations

from collections.abc import Sequence

from mentor_kit.backend.sampling import SampleRequest
from mentor_kit.backend.token_groups import TokenGroup
from mentor_kit.core.errors import BackendError


def check_request(request: SampleRequest, *, vocabulary: int, context: int) -> None:
    """Refuse a request that cannot be sampled.

    Args:
        request: that is about to be queued.
        vocabulary: the number of tokens the model knows.
        context: the longest context in tokens.

    Raises:
        BackendError: there are no ids or no token to sample, or the ids do not fit the vocabulary or the context.
    """
    count = len(request.context)
    if not count or request.max_new_tokens < 1:
        lacks = "has an empty prompt" if not count else f"asks for {request.max_new_tokens} new tokens"
        raise BackendError(f"request {request.id} {lacks}")
    if not 0 <= min(request.context) <= max(request.context) < vocabulary:
        raise _outside(f"request {request.id}: a token id", vocabulary)
    if count + 1 > context:
        raise BackendError(
            f"request {request.id}: no tokens left to generate: the prompt has {count} of a context of {context}",
            hint="shorten the prompt, or raise `backend.max_context` if the model allows it",
        )


def check_groups(groups: Sequence[TokenGroup], *, vocabulary: int, context: int) -> None:
    """Refuse groups that cannot be trained on; arguments as for `check_request`.

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


def _outside(what: str, vocabulary: int) -> BackendError:
    return BackendError(
        f"{what} is outside the model's vocabulary of {vocabulary}",
        hint="check that tokenizer and model belong together",
    )
