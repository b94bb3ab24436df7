"""The transport over aiohttp and its wrappers, on real sockets."""

import asyncio
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from io import StringIO
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from gateway.domain.json_numbers import MAX_SLOW_NUMBERS
from gateway.ports.context import RequestContext
from gateway.ports.policies import PolicySettings
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.transport import Call, Phase, Transport
from gateway.telemetry.logs import make_logger
from gateway.telemetry.metrics import Metrics
from gateway.testing.processes import running
from gateway.upstream.http1 import pool
from gateway.upstream.observed import AttemptLog
from gateway.upstream.transport import HttpTransport
from tests.component.upstream.late_responses import deadlines_end_with
from tests.contract.transport.contract import TransportContract
from tests.contract.transport.subject import call, failure_of, request
from tests.scripted_server import DROP, HANG, Reply, ScriptedServer, chunked, gzipped, reply
from tests.tcp_faults import Mode, TcpFaultProxy


class TestHttpTransport(TransportContract):
    def make_transport(self, settings: ProviderSettings) -> Transport:
        return HttpTransport(settings)


class TestHttpTransportWithLog(TransportContract):
    def make_transport(self, settings: ProviderSettings) -> Transport:
        return HttpTransport(settings, log=AttemptLog(settings.name, Metrics(), make_logger(stream=StringIO())))


def _transport(url: str, log: AttemptLog | None = None, **options: object) -> HttpTransport:
    known = {"name": "p", "api": "test", "base_url": url, "token": "t"}
    return HttpTransport(ProviderSettings.model_validate({**known, **options}), log=log)


@pytest.fixture
def full_port() -> Iterator[int]:
    """A port whose backlog is full: further connections are neither accepted nor refused."""
    with socket.socket() as listening, socket.socket() as waiting, socket.socket() as another:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        port: int = listening.getsockname()[1]
        for client in (waiting, another):
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        yield port


async def test_a_connection_that_is_not_accepted_in_time_has_sent_nothing(full_port: int) -> None:
    async with _transport(f"http://127.0.0.1:{full_port}", connect_timeout=0.1) as transport:
        failure = await failure_of(transport, request("POST", body=b"{}"), call())
    assert (failure.reason, failure.phase) == ("timeout", Phase.CONNECTING)


async def test_a_deadline_while_connecting_has_sent_nothing(full_port: int) -> None:
    async with _transport(f"http://127.0.0.1:{full_port}") as transport:
        failure = await failure_of(transport, request("POST", body=b"{}"), call(0.1))
    assert (failure.reason, failure.phase) == ("timeout", Phase.CONNECTING)


async def test_a_connection_that_is_accepted_and_held_counts_as_sent() -> None:
    async with ScriptedServer() as server, TcpFaultProxy(server.url) as proxy:
        await proxy.set_mode(Mode.STALL)
        async with _transport(proxy.url) as transport:
            failure = await failure_of(transport, request("POST", body=b"{}"), call(0.1))
    assert (failure.reason, failure.phase) == ("timeout", Phase.SENT)
    assert server.received == []


async def test_a_response_with_too_many_numbers_that_take_long_to_decode_is_unreadable() -> None:
    numbers = b"[" + b",".join([b"1e308"] * (MAX_SLOW_NUMBERS + 2)) + b"]"
    async with ScriptedServer([reply(numbers)]) as server, _transport(server.url) as transport:
        failure = await failure_of(transport, request("POST", body=b"{}"), call())
    assert (failure.reason, failure.phase, failure.status) == ("unreadable", Phase.ANSWERED, 200)
    assert "exponents" in str(failure.detail)


async def test_a_silent_provider_times_out_after_the_read_timeout() -> None:
    async with ScriptedServer([HANG]) as server, _transport(server.url, read_timeout=0.1) as transport:
        failure = await failure_of(transport, request(), call())
    assert (failure.reason, failure.phase) == ("timeout", Phase.SENT)


async def test_waiting_for_a_connection_of_the_pool_has_sent_nothing() -> None:
    one_of_each = {lane: {"in_flight": 1, "waiting": 0} for lane in PolicySettings().lanes()}
    size = len(one_of_each)
    async with ScriptedServer([HANG] * size) as server, _transport(server.url, policies=one_of_each) as transport:
        holding = [asyncio.create_task(transport.send(request(path="/first"), call())) for _ in range(size)]
        await server.until_received(size)
        failure = await failure_of(transport, request("POST", "/second"), call(0.1))
        for task in holding:
            task.cancel()
        await asyncio.wait(holding)
        assert (failure.reason, failure.phase) == ("timeout", Phase.QUEUED)
        assert (await transport.send(request(path="/third"), call())).status == 200
    assert [received.target for received in server.received] == ["/first"] * size + ["/third"]


async def test_a_name_that_cannot_be_resolved_has_sent_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_args: object, **_options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    async with _transport("http://nowhere.test") as transport:
        failure = await failure_of(transport, request("POST"), call())
    assert (failure.reason, failure.phase) == ("dns", Phase.CONNECTING)


async def test_a_provider_without_tls_fails_with_reason_tls() -> None:
    async with running(web.Application()) as url, _transport(url.replace("http:", "https:")) as transport:
        failure = await failure_of(transport, request("POST"), call())
    assert (failure.reason, failure.phase) == ("tls", Phase.CONNECTING)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    if shutil.which("openssl") is None:
        if os.environ.get("CI"):
            pytest.fail("openssl is missing; CI installs it")
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    made, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {key} -out {made} "
        "-days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1".split(),
        check=True,
        capture_output=True,
    )
    return made, key


async def test_a_certificate_is_verified_with_the_configured_authority(certificate: tuple[Path, Path]) -> None:
    async def handle(_request: web.Request) -> web.Response:
        return web.json_response({})

    app = web.Application()
    app.router.add_get("/things", handle)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        url = f"https://127.0.0.1:{runner.addresses[0][1]}"
        async with _transport(url, ca_file=str(certificate[0])) as trusting:
            assert (await trusting.send(request(), call())).status == 200
        async with _transport(url) as strict:
            failure = await failure_of(strict, request(), call())
        assert (failure.reason, failure.phase) == ("tls", Phase.CONNECTING)
    finally:
        await runner.cleanup()


async def test_an_idle_tls_connection_with_bytes_waiting_is_not_used(certificate: tuple[Path, Path]) -> None:
    writers: list[asyncio.StreamWriter] = []
    targets: list[tuple[int, bytes]] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        number = len(writers)
        with suppress(asyncio.IncompleteReadError, ConnectionError):  # the end of a connection is the client's right
            while head := await reader.readuntil(b"\r\n\r\n"):
                targets.append((number, head.split()[1]))
                writer.write(reply({"for": head.split()[1].decode()}).raw)

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    async with await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with _transport(url, ca_file=str(certificate[0])) as transport:
            await transport.send(request(path="/1"), call())
            await transport.send(request(path="/2"), call())  # session tickets do not end the connection
            writers[0].write(reply({"for": "nobody"}).raw)
            assert (await transport.send(request(path="/3"), call())).body == b'{"for": "/3"}'
    assert targets == [(1, b"/1"), (1, b"/2"), (2, b"/3")]


async def test_a_connection_that_was_silent_long_enough_serves_another_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "SILENCE_BEFORE_SHARING", 0.0)
    async with ScriptedServer() as server, _transport(server.url) as transport:
        await transport.send(request(), call(caller="one"))
        await transport.send(request(), call(caller="two"))
    assert server.connections == 1


async def test_idle_connections_of_other_callers_count_towards_the_pool_limit() -> None:
    one_of_each = {lane: {"in_flight": 1, "waiting": 0} for lane in PolicySettings().lanes()}
    async with ScriptedServer() as server, _transport(server.url, policies=one_of_each) as transport:
        for number in range(3 * len(one_of_each)):
            await transport.send(request(), call(caller=str(number)))
            assert transport._origin.pool.size <= len(one_of_each)
        assert server.connections == 3 * len(one_of_each)


async def test_every_attempt_is_counted_and_logged_with_its_own_provider() -> None:
    """Also if concurrent calls for one inbound request share the list of attempts."""
    metrics, stream = Metrics(), StringIO()
    logger = make_logger(stream=stream)
    shared = call(request_id="r-1")
    headers = [("X-Request-ID", "theirs")]
    async with (
        ScriptedServer([reply({}, headers=headers)]) as well,
        ScriptedServer([DROP]) as sick,
        _transport(well.url, AttemptLog("well", metrics, logger), name="well") as to_well,
        _transport(sick.url, AttemptLog("sick", metrics, logger), name="sick") as to_sick,
    ):
        with RequestContext("r-1"):
            await asyncio.gather(to_well.send(request(), shared), failure_of(to_sick, request(), shared))
    lines = [msgspec.json.decode(line) for line in stream.getvalue().splitlines()]
    fields = ("provider", "outcome", "phase", "provider_request_id", "request_id")
    told = sorted(tuple(line[field] for field in fields) for line in lines)
    assert told == [("sick", "disconnected", "sent", None, "r-1"), ("well", "200", "answered", "theirs", "r-1")]
    assert sorted(attempt.provider for attempt in shared.attempts) == ["sick", "well"]
    samples = {
        (sample.labels["provider"], sample.labels["outcome"]): sample.value
        for family in metrics.registry.collect()
        if family.name == "rtgw_upstream_requests"
        for sample in family.samples
        if sample.name.endswith("_total")
    }
    assert samples == {("well", "200"): 1, ("sick", "disconnected"): 1}


async def test_bodies_and_credentials_are_never_logged() -> None:
    stream = StringIO()
    log = AttemptLog("p", Metrics(), make_logger("debug", stream=stream))
    async with ScriptedServer([reply({"echo": "hunter2"})]) as server, _transport(server.url, log) as transport:
        secret, on = request("POST", "/x", headers={"Authorization": "Bearer hunter2"}, body=b'"hunter2"'), call()
        on.secrets = ["hunter2"]
        answer = await transport.send(secret, on)
    assert b"hunter2" in answer.body
    assert stream.getvalue()
    assert "hunter2" not in f"{stream.getvalue()} {secret!r} {on!r} {answer!r}"


async def test_a_very_late_deadline_works() -> None:
    async with ScriptedServer() as server, _transport(server.url) as transport:
        assert (await transport.send(request(), Call(deadline=float("inf")))).status == 200


@pytest.mark.parametrize("answer", [reply({"a": 1}, status=201), chunked(b'{"a":', b" 1}"), gzipped(b'{"a": 1}')])
async def test_a_response_that_is_complete_when_its_deadline_ends_is_returned(answer: Reply) -> None:
    async with ScriptedServer([answer]) as server, _transport(server.url) as transport:
        on = call()
        with deadlines_end_with(lambda _: True) as late:
            response = await transport.send(request("POST", body=b"{}"), on)
        assert len(late) == 1
        assert (response.status, response.body) == (late[0].status, b'{"a": 1}')
        assert response.headers["Content-Type"] == late[0].headers["Content-Type"]
        assert [(attempt.outcome, attempt.phase) for attempt in on.attempts] == [(str(response.status), Phase.ANSWERED)]
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        assert (await transport.send(request(), call())).status == 200
    assert server.connections == 1


async def test_a_response_that_failed_before_its_deadline_ends_is_not_returned() -> None:
    async with (
        ScriptedServer([reply("x" * 2000)]) as server,
        _transport(server.url, max_response_bytes=1024) as transport,
    ):
        with deadlines_end_with(lambda _: True) as late:
            failure = await failure_of(transport, request("POST", body=b"{}"), call())
    assert len(late) == 1
    assert (failure.reason, failure.phase, failure.status) == ("too_large", Phase.ANSWERED, 200)
