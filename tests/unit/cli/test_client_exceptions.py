"""How a command handles every exception of the HTTP client: exit code, message, whether a create is repeated."""

import ssl
from collections.abc import Mapping
from typing import Final

import aiohttp
import pytest
from aiohttp import client_exceptions
from aiohttp.client_reqrep import ConnectionKey
from aioresponses import aioresponses
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from tests.client_session_mocks import ScriptedResponse

from .conftest import ALL, CREATE, CREATES, DELETE, GET, RUNTIME, SERVER, Run, runtime, sends

TLS: Final = ConnectionKey("gateway.test", 443, True, True, None, None, None)
REQUEST: Final = aiohttp.RequestInfo(URL(SERVER), "GET", CIMultiDictProxy(CIMultiDict()), URL(SERVER))
CERTIFICATE: Final = ssl.SSLCertVerificationError(1, "certificate verify failed: self-signed certificate")

NOT_SENT: Final[Mapping[Exception, str]] = {
    aiohttp.ClientConnectorError(TLS, ConnectionRefusedError(111, "Connection refused")): "Connection refused",
    aiohttp.ClientConnectorDNSError(TLS, OSError(-2, "Name or service not known")): "Name or service not known",
    aiohttp.ClientProxyConnectionError(TLS, OSError(111, "Connection refused")): "Connection refused",
    client_exceptions.UnixClientConnectorError("/run/x", TLS, OSError(2, "No such file")): "No such file",
    aiohttp.ClientSSLError(TLS, ssl.SSLError(1, "wrong version number")): "wrong version number",
    aiohttp.ClientConnectorSSLError(TLS, ssl.SSLError(1, "handshake failure")): "handshake failure",
    aiohttp.ClientConnectorCertificateError(TLS, CERTIFICATE): str(CERTIFICATE.strerror),
    aiohttp.ConnectionTimeoutError("Connection timeout to host http://gateway.test"): "no response in time",
    aiohttp.InvalidURL("http://"): "this is not the URL of a server",
    aiohttp.InvalidUrlClientError("http://", "there is no host"): "there is no host",
    aiohttp.NonHttpUrlClientError("ftp://gateway.test"): "ftp://gateway.test",
}
"""Exceptions raised before a byte of the request is sent, with the reason that the command shows."""

MAYBE_SENT: Final[Mapping[Exception, str]] = {
    aiohttp.ClientError(): "ClientError",
    aiohttp.ClientConnectionError("Connection closed"): "Connection closed",
    aiohttp.ClientConnectionResetError("Cannot write to closing transport"): "Cannot write to closing transport",
    aiohttp.ClientOSError(32, "Broken pipe"): "[Errno 32] Broken pipe",
    aiohttp.ClientPayloadError("Response payload is not completed"): "Response payload is not completed",
    aiohttp.ServerConnectionError(): "ServerConnectionError",
    aiohttp.ServerDisconnectedError(): "Server disconnected",
    aiohttp.ServerTimeoutError("Timeout on reading data"): "no response in time",
    aiohttp.SocketTimeoutError("Timeout on reading data from socket"): "no response in time",
    TimeoutError(): "no response in time",
    client_exceptions.UploadAbortedError(): "UploadAbortedError",
    aiohttp.ClientResponseError(REQUEST, (), status=400, message="Bad status line:\n\n  b'\x1b[2J'"): (
        "400, message=\"Bad status line:\\n\\n  b'\\x1b[2J'\", url='http://gateway.test'"
    ),
}
"""Exceptions raised when the request, or part of it, may have arrived, with the reason that the command shows."""


def _named(error: Exception) -> str:
    return type(error).__name__


@pytest.mark.parametrize("error", NOT_SENT, ids=_named)
def test_exception_before_the_send_is_unreachable_and_not_repeated(
    answers: aioresponses, ask: Run, error: Exception
) -> None:
    line = f"error: unreachable: cannot connect to {SERVER}: {NOT_SENT[error]} (is the gateway running there? see "
    for command, method, target in ALL:
        answers.add(target, method, exception=error)
        result = ask(*command)
        assert (result.exit_code, result.stdout, len(sends(answers))) == (1, "", 1)
        assert result.stderr == f"{line}--server and RTGW_SERVER)\n"


@pytest.mark.parametrize("error", MAYBE_SENT, ids=_named)
def test_exception_after_the_send_makes_a_write_unknown_and_repeats_a_create(
    answers: aioresponses, ask: Run, error: Exception
) -> None:
    reason = MAYBE_SENT[error]
    answers.get(RUNTIME, exception=error)
    result = ask(*GET)
    assert (result.exit_code, result.stderr) == (1, f"error: no_answer: {SERVER} did not answer: {reason}\n")

    unknown = (
        f"error: outcome_unknown: the request was sent, and {SERVER} did not answer: {reason}; it may have happened"
    )
    answers.delete(RUNTIME, exception=error)
    result = ask(*DELETE)
    assert (result.exit_code, result.stderr, len(sends(answers))) == (5, unknown + "\n", 1)

    answers.post(CREATES, exception=error)
    result = ask(*CREATE, "--retry-for", "0")
    assert (result.exit_code, len(sends(answers))) == (5, 1)
    assert result.stderr.startswith(f"{unknown} (Idempotency-Key: k-1; to continue: ")
    assert len(result.stderr.splitlines()) == 1

    answers.post(CREATES, exception=error)
    answers.post(CREATES, status=201, payload=runtime())
    result = ask(*CREATE)
    assert (result.exit_code, result.stderr) == (0, "retrying: outcome_unknown: the same create is sent again in 1 s\n")
    first, second = sends(answers)
    assert first == second


class CutOff(ScriptedResponse):
    """A response whose head arrives and whose body does not."""

    async def read(self) -> bytes:
        raise aiohttp.ClientPayloadError("Response payload is not completed")


def test_success_with_a_truncated_body_is_a_failure(answers: aioresponses, ask: Run) -> None:
    answers.get(RUNTIME, response_class=CutOff)
    assert ask(*GET).exit_code == 1
    answers.post(CREATES, status=201, response_class=CutOff)
    answers.post(CREATES, status=201, payload=runtime())
    assert ask(*CREATE).exit_code == 0
    assert len(sends(answers)) == 2


def test_tables_cover_every_exception_of_the_http_client() -> None:
    """Except those of features that this client does not use: WebSockets, redirects, fingerprints, proxies and the
    check of a body's type."""
    not_done = {
        aiohttp.ContentTypeError,
        aiohttp.WSServerHandshakeError,
        aiohttp.ClientHttpProxyError,
        aiohttp.TooManyRedirects,
        aiohttp.ServerFingerprintMismatch,
        aiohttp.RedirectClientError,
        aiohttp.InvalidUrlRedirectClientError,
        aiohttp.NonHttpUrlRedirectClientError,
    }
    found, pending = set[type[Exception]](), [aiohttp.ClientError]
    while pending:
        cls = pending.pop()
        if cls.__module__.startswith("aiohttp."):
            found.add(cls)
            pending += cls.__subclasses__()
    tabled = {type(error) for error in (*NOT_SENT, *MAYBE_SENT)}
    assert found - not_done == tabled - {TimeoutError}
