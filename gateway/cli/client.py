"""The client of a gateway's API. Its failures distinguish what may have happened to the request."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, Self
from urllib.parse import quote

import aiohttp
from yarl import URL

from gateway import __version__
from gateway.cli.failures import ExitCode, Failure, Refused, Unreachable

_TIMEOUT: Final = aiohttp.ClientTimeout(total=330, sock_connect=10)
_STREAM: Final = aiohttp.ClientTimeout(sock_connect=10, sock_read=330)
_PROBLEM: Final = "application/problem+json"
_NOT_SENT: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
)


class Client:
    """Sends requests to one gateway. An async context manager."""

    def __init__(self, server: str, api_key: str | None) -> None:
        self._server = server
        self._headers = {"Accept": "application/json", "User-Agent": f"runtime-gateway-cli/{__version__}"}
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers=self._headers, timeout=_TIMEOUT, cookie_jar=aiohttp.DummyCookieJar()
        )
        # Otherwise aiohttp repeats a DELETE whose response is lost, and the repeat is reported as 404.
        self._session._retry_connection = False
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def call(
        self,
        method: str,
        *parts: str,
        query: Sequence[tuple[str, str]] = (),
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Send a request once to the path below ``/v1`` with these segments, and return the JSON object of a response
        with a 2xx status; an empty one without a body.

        Raises :class:`Refused` for a problem document (status 400 and above), :class:`Unreachable` when nothing was
        sent, and :class:`Failure` otherwise: with the code ``outcome_unknown`` when a write was sent and no complete
        response arrived.
        """
        target = "/v1/" + "/".join(quote(part, safe="") for part in parts)
        try:
            async with self._session.request(
                method,
                URL(self._server + target, encoded=True).extend_query(query),
                json=body,
                headers=headers,
                allow_redirects=False,
            ) as response:
                raw = await response.read()
        except _NOT_SENT as exc:
            raise Unreachable(self._server, _reason(exc)) from exc
        except (aiohttp.ClientError, TimeoutError) as exc:
            raise self._no_response(method, exc) from exc
        return self._read(method, response, raw)

    async def lines(self, *parts: str, query: Sequence[tuple[str, str]] = ()) -> AsyncIterator[dict[str, Any]]:
        """Read the JSON object on each line of a response, as it arrives. Raises as :meth:`call`, and
        :class:`Failure` if the response breaks off."""
        url = URL(f"{self._server}/v1/{'/'.join(parts)}").extend_query(query)
        try:
            async with self._session.get(url, allow_redirects=False, timeout=_STREAM) as response:
                if response.content_type != "application/x-ndjson":
                    self._read("GET", response, await response.read())
                    raise self._foreign("GET", response)
                rest = b""
                async for chunk in response.content.iter_any():
                    *whole, rest = (rest + chunk).split(b"\n")
                    for line in whole:
                        if (found := _object(line)) is None:
                            raise self._foreign("GET", response)
                        yield found
        except _NOT_SENT as exc:
            raise Unreachable(self._server, _reason(exc)) from exc
        except (aiohttp.ClientError, TimeoutError) as exc:
            raise self._no_response("GET", exc) from exc

    def _no_response(self, method: str, exc: Exception) -> Failure:
        if method == "GET":
            return Failure("no_answer", f"{self._server} did not answer: {_reason(exc)}")
        return Failure(
            "outcome_unknown",
            f"the request was sent, and {self._server} did not answer: {_reason(exc)}; it may have happened",
            exit_code=ExitCode.OUTCOME_UNKNOWN,
        )

    def _read(self, method: str, response: aiohttp.ClientResponse, raw: bytes) -> dict[str, Any]:
        status = response.status
        if status == 204:
            return {}
        body = _object(raw)
        if body is not None and 200 <= status < 300:
            return body
        if body is not None and status >= 400 and response.content_type == _PROBLEM and "code" in body:
            refused = Refused(status, body, _seconds(response.headers.get("Retry-After")))
            if status == 401 and "Authorization" not in self._headers:
                refused.lines = (*refused.lines, "no key is set: set RTGW_API_KEY, or run runtime-gateway login")
            raise refused
        raise self._foreign(method, response)

    def _foreign(self, method: str, response: aiohttp.ClientResponse) -> Failure:
        """Return the failure for a response that is not the gateway's, but a proxy's or another server's."""
        status = response.status
        code, exit_code = "not_a_gateway", ExitCode.AUTH if status in {401, 403} else ExitCode.FAILED
        detail = f"{self._server} answered with status {status} and {response.content_type}, which is not this API"
        damaged = status < 300 and response.content_type == "application/json"
        if method != "GET" and (status >= 500 or damaged):  # the gateway's own response may have been lost
            code, exit_code, detail = "outcome_unknown", ExitCode.OUTCOME_UNKNOWN, f"{detail}; it may have happened"
        request_id = response.headers.get("X-Request-ID")
        return Failure(
            code,
            detail,
            exit_code=exit_code,
            lines=() if request_id is None else (f"request id: {request_id}",),
            retry_after=_seconds(response.headers.get("Retry-After")),
        )


def _object(raw: bytes) -> dict[str, Any] | None:
    """Return the JSON object in a body, or None for anything else, which the API never sends."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _reason(exc: Exception) -> str:
    if isinstance(exc, TimeoutError):
        return "no response in time"
    if isinstance(exc, aiohttp.InvalidURL):
        return exc.description or "this is not the URL of a server"
    if isinstance(exc, aiohttp.ClientConnectorError) and exc.os_error.strerror:
        return exc.os_error.strerror
    return str(exc) or type(exc).__name__


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdigit() else None
