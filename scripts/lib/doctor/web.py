"""One request of HTTP, of which nobody is charged and after which nothing is followed."""

import http.client
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

from scripts.lib.doctor import SECONDS

LOOPBACK = ("127.0.0.1", "::1", "localhost")
MOST_BYTES = 4 << 20


class NoAnswer(Exception):
    """Nothing came back; the message says why, and holds no key."""


@dataclass(frozen=True)
class Answer:
    """A status, the headers (names in lower case) and the beginning of the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: it would carry a key to another host."""

    def redirect_request(self, *_: object) -> None:
        return None


def ask(url: str, headers: Mapping[str, str], method: str = "GET") -> Answer:
    """Ask for a URL, through the proxy of the environment unless it is on this machine.

    A user and a password in it are not sent: `http.client` would take them for a host and a port.
    Raises `NoAnswer`.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        here = parts.hostname in LOOPBACK
        bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        proxies = urllib.request.ProxyHandler({} if here else None)
        request = urllib.request.Request(bare, headers=dict(headers), method=method)
        with urllib.request.build_opener(_Stay, proxies).open(request, timeout=SECONDS) as reply:
            return Answer(reply.status, _lower(reply.headers), reply.read(MOST_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, _lower(error.headers), b"")
    except (http.client.HTTPException, ValueError) as error:
        # Not their own text: it may quote the address or a header.
        raise NoAnswer(type(error).__name__) from None
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        raise NoAnswer(" ".join(str(text).split())[:200]) from None


def without_secrets(url: str) -> str:
    """A URL as it may be shown: without a user, a password and a query.

    Works on the mere text, since a password may hold what ends a host, and never fails.
    """
    scheme, separator, rest = url.rpartition("://")
    return scheme + separator + re.split("[?#]", rest.rpartition("@")[2])[0]


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
