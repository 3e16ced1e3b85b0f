"""The HTTP connection to an endpoint: one client for a run, whatever the number of keys."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any
from urllib.request import getproxies_environment, proxy_bypass_environment

from scripts.lib.completions.answers import Answer, Unanswered, one_line
from scripts.lib.completions.keys import ApiKey
from scripts.lib.errors import UserError

LOOPBACK = ("127.0.0.1", "::1", "localhost")
# A connection that takes longer is none, and nothing was asked for by it.
CONNECT_SECONDS = 15.0
# Sends the body of a chat completion request with a key. Raises `Unanswered` where nothing whole
# comes back in time.
Send = Callable[[ApiKey, bytes], Awaitable[Answer]]
# Opens the way to an endpoint: the block's value sends.
Connect = Callable[[], AbstractAsyncContextManager[Send]]


class Transport:
    """Sends the bodies of chat completion requests to an endpoint. An async context manager.

    `timeout` (seconds) bounds each request from its first byte to its last. `connections` is the
    most that may be open. Raises `UserError` for a base URL that is none.
    """

    def __init__(self, base_url: str, timeout: float, connections: int) -> None:
        self._base_url, self._timeout, self._connections = base_url, timeout, connections
        # Before the deadline, of which nobody knows what the endpoint did until then.
        self._connect_seconds = min(CONNECT_SECONDS, 0.9 * timeout)
        self._headers: dict[ApiKey, Any] = {}

    async def __aenter__(self) -> Send:
        import httpx2
        from openai import DefaultAioHttpClient

        check_url(self._base_url)
        self._way = f" through the proxy of {name}" if (name := proxy_for(self._base_url)) else ""
        limits = httpx2.Limits(
            max_connections=self._connections, max_keepalive_connections=self._connections
        )
        # The deadline is ours: one for the whole request, which those of a socket's calls are not.
        with checked_proxies():
            self._http = DefaultAioHttpClient(
                limits=limits, timeout=None, trust_env=not is_here(self._base_url)
            )
        await self._http.__aenter__()
        return self._send

    async def __aexit__(self, *of_error: Any) -> None:
        await self._http.__aexit__(*of_error)

    def _prepare(self, key: ApiKey) -> Any:
        """The headers that go with a key, parsed once; with the URL, which is the same for all."""
        import httpx2

        headers, url = headers_and_url(self._base_url, key, self._http)
        self._url = httpx2.URL(url)
        host = self._url.netloc.decode("ascii")
        return self._headers.setdefault(
            key, httpx2.Headers({"Host": host, **dict(self._http.headers), **headers})
        )

    async def _send(self, key: ApiKey, body: bytes) -> Answer:
        import aiohttp
        import httpx2

        headers = self._headers.get(key) or self._prepare(key)
        try:
            async with asyncio.timeout(self._timeout):
                # Not through the client's `create`: building its request and its types takes it a
                # millisecond a request, as long as all else together (bench/labels.py).
                request = httpx2.Request(
                    "POST",
                    self._url,
                    headers=headers,
                    content=body,
                    extensions={"timeout": {"connect": self._connect_seconds}},
                )
                response = await self._http.send(request)
                return Answer(response.status_code, response.headers, response.content)
        except TimeoutError as error:
            raise Unanswered(f"no answer within {self._timeout:g} s", charged=True) from error
        except (httpx2.HTTPError, aiohttp.ClientError, OSError, ValueError) as error:
            # The adapter between the two libraries reports a refused connection and one that was
            # reset in the middle alike; the error below it tells them apart.
            no_connection = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
            if isinstance(error.__cause__ or error, no_connection):
                raise Unanswered(
                    f"no connection{self._way} ({_cause(error)})", charged=False
                ) from error
            raise Unanswered(f"the connection broke ({_cause(error)})", charged=True) from error


def check_url(url: str) -> None:
    """Raise `UserError` for what is not the URL of an endpoint."""
    import httpx2

    try:
        parts = httpx2.URL(url)
        if parts.scheme in ("http", "https") and parts.host:
            return
    except httpx2.InvalidURL:
        pass
    raise UserError(f"{url}: is not a URL: mend OPENAI_BASE_URL")


def is_here(url: str) -> bool:
    """Whether a URL leads to this machine, and so through no proxy (HTTPS_PROXY and the like)."""
    import httpx2

    return httpx2.URL(url).host in LOOPBACK


def proxy_for(url: str) -> str:
    """The environment variable whose proxy leads to a URL, "" where there is none."""
    import httpx2

    parts, proxies = httpx2.URL(url), getproxies_environment()
    if is_here(url) or proxy_bypass_environment(parts.host, proxies):
        return ""
    names = [scheme for scheme in (parts.scheme, "all") if scheme in proxies]
    return f"{names[0].upper()}_PROXY" if names else ""


@contextmanager
def checked_proxies() -> Iterator[None]:
    """A block that opens a client; raises `UserError` for a proxy whose address is none."""
    import httpx2

    try:
        yield
    except (httpx2.InvalidURL, ValueError) as error:
        raise UserError(
            f"HTTP_PROXY, HTTPS_PROXY or ALL_PROXY holds no proxy ({one_line(error)}): mend it or "
            "unset it"
        ) from error


def _cause(error: BaseException) -> str:
    return one_line(error) or type(error).__name__


def headers_and_url(base_url: str, key: ApiKey, http: Any) -> tuple[dict[str, str], str]:
    """What the openai client would send with a chat completion request, and where to.

    It reads the organisation and the project from OPENAI_ORG_ID and OPENAI_PROJECT_ID.
    """
    import openai

    client = openai.AsyncOpenAI(
        base_url=base_url, api_key=key.secret, max_retries=0, http_client=http
    )
    headers = {**client.default_headers, **client.auth_headers}
    kept = {name: value for name, value in headers.items() if isinstance(value, str)}
    return kept, f"{str(client.base_url).rstrip('/')}/chat/completions"
