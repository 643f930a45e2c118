"""Whether the hub of models answers, so that nothing waits for its client's retries where there is no network."""

from __future__ import annotations

from functools import cache

#: Seconds to wait for an answer. The client itself tries five times for every file, which takes minutes.
PATIENCE = 10.0


@cache
def hub_answers() -> bool:
    """Whether the hub, or the server in its place (`HF_ENDPOINT`), answers; asked once in a process.

    Any answer counts, errors too: what they say about a model is the client's to report. Where the client is set to
    work offline (`HF_HUB_OFFLINE`), nothing answers.
    """
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=PATIENCE)
    except Exception:  # noqa: BLE001 (the client's own classes differ by its version)
        return False
    return True
