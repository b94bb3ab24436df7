"""Requests that fit the documents are accepted, and whatever the domain accepts is sent in a form that fits."""

import asyncio
import itertools
import string
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gateway.app import plugins
from gateway.domain.errors import ValidationFailed
from gateway.domain.requests import CreateBrowser, CreateDurable, CreateRequest
from gateway.domain.validation import validate
from gateway.ports.provider import ProviderAdapter
from gateway.upstream.transport import HttpTransport
from tests.component.request_strategies import BROWSER, DURABLE
from tests.conformance.bodies import values
from tests.conformance.exchanges import Caller, Clock, behind_the_gateway, emulated, received
from tests.conformance.facts import client, documents
from tests.conformance.sources import CLIENTS
from tests.conformance.walks import SCOPES

FEW = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
_numbers = itertools.count()
_WORD = st.text(string.ascii_lowercase, min_size=1, max_size=8)

NARROWER = {
    # The document gives these fields no form; the emulator and the gateway have chosen one.
    "key": st.just("one"),
    "project": _WORD,
    "alias": st.just("one"),
    "exposed_ports": st.lists(st.integers(1, 65535), max_size=2),
    "timeout_seconds": st.none() | st.integers(60, 3600),
    "memory_mb": st.integers(512, 8192),
    "allow": st.lists(st.sampled_from(["a.test", "*.a.test", "10.0.0.0/8", "tcp://a.test:443"]), max_size=2),
    "port": st.integers(1, 65535),
    "host": _WORD,
}
CREATES = {
    api: values(documents(api).operation_named("create")["request"], documents(api).shapes, NARROWER)
    for api in ("durable", "bctrl")
}
PATHS = {
    "durable": "/api/v1/org/{}/ws/{}/runtimes".format(*SCOPES["durable"].split("/")),
    "bctrl": f"/v1/workspaces/{SCOPES['bctrl']}/runtimes",
}


class Servers:
    """The emulators and the gateway, in an event loop that is kept for the whole module."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.run = runner.run
        self._stack = AsyncExitStack()
        enter = self._stack.enter_async_context
        self.emulators = {api: runner.run(enter(emulated(api, Clock()))) for api in CREATES}
        self.dialects = runner.run(enter(behind_the_gateway(Clock())))

    def create(self, to: Caller, api: str, body: dict[str, Any]) -> int:
        """The status of a create under a new name."""
        name = {"durable": "key", "bctrl": "alias"}[api]
        self.run(to.call("POST", PATHS[api], {**body, name: f"n-{next(_numbers)}"}))
        return to.exchanges[-1].status

    def close(self) -> None:
        self.run(self._stack.aclose())


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with asyncio.Runner() as runner:
        found = Servers(runner)
        yield found
        found.close()


@pytest.mark.parametrize("api", CREATES)
def test_documented_creates_are_accepted_by_the_emulator_and_the_dialect(servers: Servers, api: str) -> None:
    facts, emulator, dialect = documents(api), servers.emulators[api], servers.dialects[api]

    @FEW
    @given(body=CREATES[api])
    def accepted(body: dict[str, Any]) -> None:
        for caller in (emulator, dialect):
            assert servers.create(caller, api, body) in {200, 201}, caller.exchanges[-1].answer
            assert not facts.answer_faults(caller.exchanges[-1])
        assert not facts.request_faults(received(dialect.emulator)[-1])

    accepted()


def example(api: str, operation: str, part: str) -> Any:
    """The documents' example of a request or an answer."""
    return next(one[part] for one in documents(api).examples if one.get("operation") == operation and part in one)


@pytest.mark.parametrize("api", CREATES)
def test_the_documented_example_is_accepted_by_the_emulator_and_the_dialect(servers: Servers, api: str) -> None:
    for caller in (servers.emulators[api], servers.dialects[api]):
        assert servers.create(caller, api, example(api, "create", "request")) in {200, 201}


def test_the_emulator_fills_in_the_documented_defaults_of_a_config(servers: Servers) -> None:
    """The example of an answer has exactly the members with a default."""
    caller = servers.emulators["durable"]
    assert servers.create(caller, "durable", {"config": {"capabilities": [{"name": "agent"}]}}) == 201
    one = f"{PATHS['durable']}/{caller.exchanges[-1].answer['id']}/config"
    servers.run(caller.call("GET", one))
    assert within(example("durable", "replace_config", "answer"), caller.exchanges[-1].answer)


def within(part: Any, whole: Any) -> bool:
    """Whether ``whole`` has all members of ``part``, with the same values."""
    if isinstance(part, dict):
        return all(name in whole and within(value, whole[name]) for name, value in part.items())
    if isinstance(part, list):
        return len(part) == len(whole) and all(map(within, part, whole))
    return bool(part == whole)


def adapter_of(api: str) -> ProviderAdapter[Any]:
    """An adapter that sends nothing."""
    plugin = plugins()[api]
    known = {"name": "p", "api": api, "base_url": "http://127.0.0.1:1", "token": "t", "scope": plugin.demo.scope}
    configured = plugin.settings.model_validate(known)
    return plugin.adapter(configured, HttpTransport(configured))


def body_of(adapter: ProviderAdapter[Any], request: CreateRequest) -> Any:
    """The body of a create."""
    return msgspec.json.decode(adapter.wire_create(request, SCOPES[adapter.api], marker="in_1").body)


def without_unknown(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a durable create without the members of the config that no document has."""
    config = fields.get("config")
    if config is None:
        return fields
    known = {name: value for name, value in config.items() if name != "unknown_member"}
    if "build" in known:
        known["build"] = {name: value for name, value in known["build"].items() if name != "cache"}
    return {**fields, "config": known}


@given(fields=DURABLE)
@settings(FEW, max_examples=60)
def test_every_durable_create_is_sent_in_the_documented_form(fields: dict[str, Any]) -> None:
    fields = without_unknown(fields)
    try:
        request = validate(CreateDurable, {"kind": "durable", "name": "one", **fields})
    except ValidationFailed:  # labels in two places that differ
        assume(False)
    body = body_of(adapter_of("durable"), request)
    facts = documents("durable")
    assert not facts.shape_faults(facts.operation_named("create")["request"], body)


@given(fields=BROWSER)
@settings(FEW, max_examples=60)
def test_every_create_of_a_browser_is_sent_in_the_documented_form(fields: dict[str, Any]) -> None:
    request = validate(CreateBrowser, {"kind": "browser", "name": "one", **fields})
    facts = documents("bctrl")
    assert not facts.shape_faults(facts.operation_named("create")["request"], body_of(adapter_of("bctrl"), request))


def test_every_create_of_a_browser_is_sent_in_the_form_of_the_client() -> None:
    """``provider_options`` are generated from the client's own types. The gateway refuses some that these allow."""
    facts = client(*CLIENTS["bctrl_browsers"])
    create, adapter = facts.operation_named("create")["request"], adapter_of("bctrl_browsers")
    positive = st.integers(1, 3600)
    narrower = {
        "expireAfterIdleDays": positive,
        "timeoutSeconds": positive,
        "width": positive,
        "height": positive,
        "fromBrowser": _WORD,
        "metadata": st.dictionaries(_WORD, st.integers(), max_size=2),
        "extensions": st.lists(_WORD, max_size=2),
    }
    options = values(create, facts.shapes, narrower, nulls=False)
    sent: list[Any] = []

    @settings(FEW, max_examples=60)
    @given(options=options, fields=BROWSER)
    def fits(options: dict[str, Any], fields: dict[str, Any]) -> None:
        given = {name: value for name, value in options.items() if name not in {"name", "spaceId", "proxy"}}
        launch = {name: value for name, value in fields.get("launch", {}).items() if not name.startswith("humanize")}
        try:
            request = validate(
                CreateBrowser,
                {"kind": "browser", "name": "one", "provider_options": given, **({"launch": launch} if launch else {})},
            )
            body = body_of(adapter, request)
        except ValidationFailed:
            assume(False)
        sent.append(body)
        assert not facts.shape_faults(create, body)

    fits()
    assert len({name for body in sent for name in body}) > 15
