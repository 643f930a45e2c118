"""The page as one HTML document: its own scripts and styles inlined, and a content policy that forbids everything else.

Nothing of a run is ever a part of the markup: a run's data stand in it compressed, as base64, and the scripts put them
into the page as text.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import BinaryIO

from mentor_kit.core.frozen_model import Json
from mentor_kit.utils.strict_json import to_json
from mentor_kit.utils.version import __version__

_CLIENT = files("mentor_kit.report.page") / "client"

#: Scripts in the order in which they run. A tab is a script: it adds itself to the page (`client/base.js`).
SCRIPTS = (
    "vendor/uPlot.iife.min.js",
    "base.js",
    "source.js",
    "navigation.js",
    "help.js",
    "charts.js",
    "calls.js",
    "dialogue.js",
    "attempt.js",
    "tokens.js",
    "grid.js",
    "comparison.js",
    "overview.js",
    "rollouts.js",
    "evaluations.js",
    "rescore.js",
    "recipe.js",
    "start.js",
)
STYLES = ("vendor/uPlot.min.css", "style.css", "dialogue.css")

#: Those of the list of runs.
LIST_SCRIPTS = ("base.js", "runs.js")
LIST_STYLES = ("style.css", "runs.css")

#: What a page from a server may load: the server's data.
_LIVE = "default-src 'none'; connect-src 'self'"

#: The number of the data's form; a page reads only its own.
FORMAT = 1


def write_head(file: BinaryIO) -> None:
    """Write the document up to the run's data; for a page that opens from disk and may not use the network."""
    file.write(_head("default-src 'none'").encode())


def chunk_line(key: str, data: Json) -> bytes:
    """Data as a line of the document; the page finds it under a key of letters, digits and hyphens."""
    return f'<script type="application/gzip" id="{key}">'.encode() + pack(data) + b"</script>\n"


def write_tail(file: BinaryIO) -> None:
    """Write the scripts and the document's end."""
    file.write(_tail({}).encode())


def live_page(source: str, home: str = "") -> str:
    """The page for a server: it asks `source` for its data, and again while it is open.

    It gets `<source>data.json?since=VERSION` and `<source>chunk.json?run=KEY&name=NAME`, as `PageData` answers them.

    Args:
        source: the address before these names, relative to the page's; mostly empty.
        home: the address of the list of runs, relative to the page's; empty where there is none.
    """
    return _head(_LIVE) + _tail({"source": source} | ({"home": home} if home else {}))


def live_list(source: str) -> str:
    """The list of runs for a server: it asks `<source>?since=VERSION` for its data, again and again."""
    scripts, styles = _texts(LIST_SCRIPTS), _texts(LIST_STYLES)
    return _head(_LIVE, scripts, styles) + _tail({"list": source}, scripts)


def pack(data: Json) -> bytes:
    """JSON, compressed, as base64."""
    try:
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:
        # a browser reads standard JSON alone
        text = to_json(data)
    return base64.b64encode(gzip.compress(text.encode(errors="replace"), 7, mtime=0))


def _head(policy: str, scripts: Sequence[str] = (), styles: Sequence[str] = ()) -> str:
    """The document up to its data; scripts and styles are the page's if left out."""
    scripts, styles = scripts or _texts(SCRIPTS), styles or _texts(STYLES)
    policy += f"; script-src {policy_sources(scripts)}; style-src {policy_sources(styles)}"
    policy += "; base-uri 'none'; form-action 'none'"
    head = read_client_file("page.html").replace("@POLICY@", policy).replace("@VERSION@", __version__)
    return head.replace("@STYLES@", "\n".join(f"<style>{text}</style>" for text in styles))


def _tail(settings: dict[str, str], scripts: Sequence[str] = ()) -> str:
    """The document from its settings on; scripts are the page's if left out."""
    found = json.dumps({"format": FORMAT} | settings).replace("<", "\\u003c")
    inlined = "\n".join(f"<script>{text}</script>" for text in scripts or _texts(SCRIPTS))
    return f'<script type="application/json" id="settings">{found}</script>\n{inlined}\n</body>\n</html>\n'


@cache
def _texts(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"\n{read_client_file(name)}" for name in names)


def policy_sources(texts: Sequence[str]) -> str:
    """Scripts or styles by their hashes, as a content policy lists them."""
    return " ".join(_source(text) for text in texts)


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def read_client_file(name: str) -> str:
    """A script, style or the frame of the page, as it is in the package."""
    return (_CLIENT / name).read_text(encoding="utf-8")
