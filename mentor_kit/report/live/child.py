"""`python -m mentor_kit.report.live.child FOLDER [PORT]`: serves a run's page until standard input ends.

Prints one line of JSON: `{"address": …}`, or `{"error": …}` where it cannot be served.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from mentor_kit.core.errors import MentorKitError
from mentor_kit.report.live.server import LiveServer
from mentor_kit.report.live.site import LiveSite
from mentor_kit.runs import Run, RunFolder


def main(folder: str, port: str | None = None) -> None:
    """Serve the page of the run in a folder."""
    path = Path(folder)
    site = LiveSite(path.parents[1], [Run(RunFolder(path))])
    try:
        server = LiveServer(site, port=None if port is None else int(port))
    except MentorKitError as error:
        _say({"error": error.message})
        return
    with server.start():
        _say({"address": server.address})
        while os.read(0, 1024):
            pass


def _say(what: dict[str, str]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
