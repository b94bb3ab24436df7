"""What a command makes of every exception of the HTTP client: exit code, message, whether a create is sent again."""

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

from .conftest import ALL, CREATE, CREATES, DELETE, GET, RUNTIME, SERVER, Run, sends
from .test_runtimes import runtime

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
    aiohttp.ConnectionTimeoutError("Connection timeout to host http://gateway.test"): "no answer in time",
    aiohttp.InvalidURL("http://"): "this is not a URL of a server",
    aiohttp.InvalidUrlClientError("http://", "there is no host"): "there is no host",
    aiohttp.NonHttpUrlClientError("ftp://gateway.test"): "ftp://gateway.test",
}
"""What is raised before a byte of the request is sent, and the reason that is shown."""

MAYBE_SENT: Final[Mapping[Exception, str]] = {
    aiohttp.ClientError(): "ClientError",
    aiohttp.ClientConnectionError("Connection closed"): "Connection closed",
    aiohttp.ClientConnectionResetError("Cannot write to closing transport"): "Cannot write to closing transport",
    aiohttp.ClientOSError(32, "Broken pipe"): "[Errno 32] Broken pipe",
    aiohttp.ClientPayloadError("Response payload is not completed"): "Response payload is not completed",
    aiohttp.ServerConnectionError(): "ServerConnectionError",
    aiohttp.ServerDisconnectedError(): "Server disconnected",
    aiohttp.ServerTimeoutError("Timeout on reading data"): "no answer in time",
    aiohttp.SocketTimeoutError("Timeout on reading data from socket"): "no answer in time",
    TimeoutError(): "no answer in time",
    client_exceptions.UploadAbortedError(): "UploadAbortedError",
    aiohttp.ClientResponseError(REQUEST, (), status=400, message="Bad status line:\n\n  b'\x1b[2J'"): (
        "400, message=\"Bad status line:\\n\\n  b'\\x1b[2J'\", url='http://gateway.test'"
    ),
}
"""What is raised when the request, or a part of it, may have arrived, and the reason that is shown."""


def _named(error: Exception) -> str:
    return type(error).__name__


@pytest.mark.parametrize("error", NOT_SENT, ids=_named)
def test_an_exception_before_the_send_is_unreachable_and_nothing_is_sent_again(
    answers: aioresponses, ask: Run, error: Exception
) -> None:
    line = f"error: unreachable: cannot connect to {SERVER}: {NOT_SENT[error]} (is the gateway running there? see "
    for command, method, target in ALL:
        answers.add(target, method, exception=error)
        result = ask(*command)
        assert (result.exit_code, result.stdout, len(sends(answers))) == (1, "", 1)
        assert result.stderr == f"{line}--server and RTGW_SERVER)\n"


@pytest.mark.parametrize("error", MAYBE_SENT, ids=_named)
def test_an_exception_after_the_send_leaves_the_outcome_of_a_write_unknown_and_a_create_is_sent_again(
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
    assert result.stderr.startswith(f"{unknown} (Idempotency-Key: k-1; to go on: ")
    assert len(result.stderr.splitlines()) == 1

    answers.post(CREATES, exception=error)
    answers.post(CREATES, status=201, payload=runtime())
    result = ask(*CREATE)
    assert (result.exit_code, result.stderr) == (0, "retrying: outcome_unknown: the same create again in 1 s\n")
    first, second = sends(answers)
    assert first == second


class CutOff(ScriptedResponse):
    """An answer whose head comes and whose body does not."""

    async def read(self) -> bytes:
        raise aiohttp.ClientPayloadError("Response payload is not completed")


def test_a_success_whose_body_is_cut_off_is_no_success(answers: aioresponses, ask: Run) -> None:
    answers.get(RUNTIME, response_class=CutOff)
    assert ask(*GET).exit_code == 1
    answers.post(CREATES, status=201, response_class=CutOff)
    answers.post(CREATES, status=201, payload=runtime())
    assert ask(*CREATE).exit_code == 0
    assert len(sends(answers)) == 2


def test_every_exception_of_the_http_client_is_in_one_of_the_tables() -> None:
    """But for those of what this client does not do: WebSockets, redirects, fingerprints, types of bodies, proxies."""
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
