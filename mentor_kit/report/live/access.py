"""Who may read the live page: rules about a request's Host, Origin and token.

A page of another site in the same browser can send requests to the loopback address, too. Three rules keep it out:

    Host           an address, `localhost` or this machine's name: a foreign name that resolves to this machine
                   (DNS rebinding) is refused
    Origin         where a browser gives it, that of the page itself; the same goes for Sec-Fetch-Site
    token          where one is required: in the address of the first request, afterwards in a cookie
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from http.cookies import CookieError, SimpleCookie
from typing import Protocol
from urllib.parse import urlsplit

#: The query's key of the token.
TOKEN = "token"


class Headers(Protocol):
    """The headers of a request."""

    def get(self, name: str, /) -> str | None:
        """A header's value; None where there is none of that name."""
        ...


@dataclass(frozen=True)
class Refusal:
    """Why a request is refused."""

    status: int
    """Of HTTP: 401 or 403."""
    reason: str


@dataclass(frozen=True)
class AccessRules:
    """The rules of a server.

    Attributes:
        host: the address that the server is bound to.
        port: its port.
        token: what a reader must know; none is required where it is empty.
    """

    host: str
    port: int
    token: str = ""

    def refusal(self, headers: Headers, query: Mapping[str, str]) -> Refusal | None:
        """Why a request is refused; None where it is not.

        Args:
            headers: those of the request.
            query: the address's query.
        """
        host = headers.get("Host") or ""
        if not self._is_known(_name_of(host)):
            return Refusal(403, f"this server does not answer for the host {host!r}: use its address, or localhost")
        origin = headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return Refusal(403, "this server answers its own pages alone")
        if headers.get("Sec-Fetch-Site") in ("cross-site", "same-site") and not _is_visit(headers):
            return Refusal(403, "this server answers its own pages alone")
        if self.token and not self.brings_token(query) and not self._has_cookie(headers):
            return Refusal(401, "open the address that `mentorkit view` printed, with its token")
        return None

    def brings_token(self, query: Mapping[str, str]) -> bool:
        """Whether the address has the token."""
        return bool(self.token) and _equal(query.get(TOKEN, ""), self.token)

    @property
    def cookie(self) -> str:
        """The header that lets a browser keep the token. Cookies are shared by all ports of a host, names are not."""
        return f"{self._cookie_name}={self.token}; Path=/; HttpOnly; SameSite=Lax"

    @property
    def _cookie_name(self) -> str:
        return f"mentorkit-view-{self.port}"

    def _has_cookie(self, headers: Headers) -> bool:
        try:
            found = SimpleCookie(headers.get("Cookie") or "").get(self._cookie_name)
        except CookieError:
            return False
        return found is not None and _equal(found.value, self.token)

    def _is_known(self, name: str) -> bool:
        return is_address(name) or name == "localhost" or name.endswith(".localhost") or name in self._names

    @cached_property
    def _names(self) -> frozenset[str]:
        """The names of this machine, where it can be reached from others."""
        if is_loopback(self.host):
            return frozenset()
        name = socket.gethostname().lower()
        return frozenset({self.host.lower(), name, name.split(".")[0], socket.getfqdn().lower()})


def is_loopback(host: str) -> bool:
    """Whether an address or name can be reached from this machine alone."""
    if host == "localhost":
        return True
    return is_address(host) and ipaddress.ip_address(host).is_loopback


def is_address(name: str) -> bool:
    """Whether a host is given as an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _name_of(host: str) -> str:
    """The name or address in a Host header, in lower case; empty where it is wrong. A tunnel changes the port alone."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_visit(headers: Headers) -> bool:
    """Whether a person follows a link: the answer is for the person, not for the page that has the link."""
    return headers.get("Sec-Fetch-Mode") == "navigate" and headers.get("Sec-Fetch-Dest") == "document"


def _equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())
