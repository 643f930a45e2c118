"""Serves the page that shows runs, live."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mentor_kit.api.arguments import checked_arguments
from mentor_kit.api.locations import RUNS, find_run, folder_path
from mentor_kit.core.errors import UsageError
from mentor_kit.runs import Run

if TYPE_CHECKING:
    from mentor_kit.report.live import LiveServer

#: The environment variable with a token to use in place of a new one each time.
TOKEN = "MENTORKIT_VIEW_TOKEN"


@checked_arguments
def view(
    runs: str | Path | Run | Sequence[str | Path | Run] = (),
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    token: bool = False,
    output: str | Path = RUNS,
) -> LiveServer:
    """Serve the page of runs: new steps appear in it while they are made. Run folders are read, never written to.

    Example:
        >>> with mentor_kit.view("quickstart") as server:  # doctest: +SKIP
        ...     print(server.address)
        ...     server.serve()  # until Ctrl-C; `start` serves in a thread

    Args:
        runs: one run or several, each a run, its folder, `name/id`, or a recipe's name for its newest run; a list of
            all runs in `output` if left out.
        host: the address to bind to; one that other machines reach needs the token.
        port: 0 for any free one; 8490, or any free one where that is taken, if left out.
        token: whether a reader needs a token, which is part of the server's `address`. It always is where other
            machines reach the server, or `MENTORKIT_VIEW_TOKEN` is set, which names it.
        output: the folder of all runs.

    Returns:
        The server, bound to its address. It serves nothing before `serve` or `start`.

    Raises:
        UsageError: there is no such run or folder, or the address cannot be bound to.
    """
    from mentor_kit.report.live import LiveServer, LiveSite
    from mentor_kit.report.live.access import is_loopback

    if not isinstance(host, str) or not (port is None or isinstance(port, int)):
        raise UsageError(
            f"`view`: cannot serve on {host!r}, port {port!r}", hint="for example host='127.0.0.1', port=0"
        )
    root = folder_path(output)
    if not root.is_dir() and root != RUNS:
        raise UsageError(f"there is no folder {root}", hint="name the folder of all runs, such as --runs runs")
    named = [runs] if isinstance(runs, str | Path | Run) else list(runs)
    found = [find_run(run, output, lambda run: run.has_started) for run in named]
    unique = list({run.path.resolve(): run for run in found}.values())
    chosen = os.environ.get(TOKEN, "")
    if not chosen and (token or not is_loopback(host)):
        chosen = secrets.token_urlsafe(24)
    return LiveServer(LiveSite(root, unique), host, port, chosen)
