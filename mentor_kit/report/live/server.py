"""The server of the live page: the standard library's, on one address, for readers alone."""

from __future__ import annotations

import errno
import gzip
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from mentor_kit.core.errors import MentorKitError, UsageError
from mentor_kit.report.live.access import TOKEN, AccessRules, is_address, is_loopback
from mentor_kit.report.live.site import Answer, LiveSite, problem

LOOPBACK = "127.0.0.1"

#: The port that is tried first where none is given.
PORT = 8490

#: Headers of every answer: nothing is loaded from elsewhere, nothing is framed, kept or guessed.
_HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'none'; object-src 'none'; base-uri 'none'; form-action 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

#: Answers from so many bytes on are compressed where the browser takes it.
_COMPRESSED_FROM = 1000


class LiveServer:
    """Serves a site; a context manager.

    Args:
        site: what is served.
        host: the address to bind to; one that other machines reach needs a token.
        port: 0 for any free one; the usual one, or any free one where that is taken, if left out.
        token: what a reader must know; see `AccessRules`.

    Raises:
        UsageError: the address needs a token, does not belong to this machine, or its port is taken.
    """

    def __init__(self, site: LiveSite, host: str = LOOPBACK, port: int | None = None, token: str = "") -> None:
        if not token and not is_loopback(host):
            raise UsageError(f"other machines reach {host}: the page needs a token there", hint="give a token")
        self._server = _bound(host, port)
        self.host = host
        self.port = int(self._server.server_address[1])
        self._server.site = site
        self._server.rules = AccessRules(host, self.port, token)
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        """The address to open, with the token where there is one."""
        name = socket.gethostname() if self.host in ("0.0.0.0", "::") else self.host
        place = f"[{name}]" if is_address(name) and ":" in name else name
        token = self._server.rules.token
        return f"http://{place}:{self.port}/" + (f"?{urlencode({TOKEN: token})}" if token else "")

    def serve(self) -> None:
        """Serve until Ctrl-C."""
        try:
            self._server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            return

    def start(self) -> Self:
        """Serve in a thread, until `close`."""
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop serving and free the port; a second call does nothing."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._thread = None
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    site: LiveSite
    rules: AccessRules

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A reader who leaves, or sends nonsense, is no fault of the server."""


class _Server6(_Server):
    address_family = socket.AF_INET6


def _bound(host: str, port: int | None) -> _Server:
    """A server that is bound to an address, and serves nothing yet."""
    kind = _Server6 if ":" in host else _Server
    try:
        try:
            return kind((host, PORT if port is None else port), _Handler)
        except OSError as error:
            if port is not None or error.errno != errno.EADDRINUSE:
                raise
            return kind((host, 0), _Handler)
    except OverflowError:
        raise UsageError(f"there is no port {port}", hint="a port is a number from 0 to 65535") from None
    except OSError as error:
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            raise UsageError(
                f"{host!r} is no address of this machine", hint="127.0.0.1 is its own, 0.0.0.0 all of them"
            ) from None
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            raise UsageError(f"port {port} is not free: {error.strerror}", hint="name another one, or none") from None
        raise MentorKitError(f"cannot serve on {host}: {error.strerror}") from None


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD."""

    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        """Answer a request."""
        if self.headers.get("Content-Length") or self.headers.get("Transfer-Encoding"):
            self.close_connection = True  # a body, which nobody reads
        address = urlsplit(self.path)
        query = dict(parse_qsl(address.query))
        refusal = self.server.rules.refusal(self.headers, query)
        if refusal is not None:
            self._send(problem(refusal.status, refusal.reason))
        elif TOKEN in query and self.server.rules.brings_token(query):
            # the token leaves the address, and so the browser's history and what is copied from it
            rest = urlencode([pair for pair in parse_qsl(address.query) if pair[0] != TOKEN])
            place = "/" + address.path.lstrip("/") + (f"?{rest}" if rest else "")
            self._send(Answer(303, location=place), cookie=self.server.rules.cookie)
        else:
            self._send(self.server.site.answer(address.path, query))

    do_HEAD = do_GET

    def _refuse(self) -> None:
        self.close_connection = True
        self._send(problem(405, "this server is for reading alone"))

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _refuse

    def _send(self, answer: Answer, cookie: str = "") -> None:
        body = answer.body
        self.send_response(answer.status)
        if answer.status == 405:
            self.send_header("Allow", "GET, HEAD")
        if cookie:
            self.send_header("Set-Cookie", cookie)
        if answer.location:
            self.send_header("Location", answer.location)
        if answer.type:
            self.send_header("Content-Type", answer.type)
            self.send_header("Vary", "Accept-Encoding")
        if len(body) >= _COMPRESSED_FROM and "gzip" in self.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body, 5)
            self.send_header("Content-Encoding", "gzip")
        if answer.status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def end_headers(self) -> None:
        """Add the headers of every answer, also of those that the standard library makes."""
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def version_string(self) -> str:
        """The name of the server, without versions."""
        return "mentorkit"

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged."""
