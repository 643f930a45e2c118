"""The command `view`, which serves the page of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mentor_kit.cli.results import RESULTS


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel=RESULTS)(view)


def view(
    runs: Annotated[
        list[str] | None, typer.Argument(help="Run folders or recipes' names; all runs if left out.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="The address to serve on; others than loopback need a token.")
    ] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="The port; 8490 or a free one if left out.")] = None,
    token: Annotated[bool, typer.Option("--token", help="Require a token on the loopback address as well.")] = False,
    root: Annotated[Path, typer.Option("--runs", help="The folder of all runs.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="The address as JSON.")] = False,
) -> None:
    """Serve the page of runs in a browser, live while they run, until Ctrl-C."""
    import json
    import platform
    import sys

    from mentor_kit import api

    with api.view(runs or [], host=host, port=port, token=token, output=root) as server:
        said = json.dumps({"address": server.address}) if as_json else f"view: {server.address} (Ctrl-C ends it)"
        typer.echo(said)
        if not as_json and host == "127.0.0.1":
            tunnel = f"ssh -N -L {server.port}:127.0.0.1:{server.port} {platform.node() or 'THIS-MACHINE'}"
            typer.echo(f"from another machine: {tunnel}")
        sys.stdout.flush()
        server.serve()
