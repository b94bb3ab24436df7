"""What the adapter contract is run on: an adapter over a real transport, and its provider's running emulator."""

import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final, TypeVar

from gateway.domain.errors import GatewayError
from gateway.domain.ids import RuntimeRef
from gateway.domain.operations import Operation
from gateway.domain.pages import ProviderQuery
from gateway.domain.requests import CREATE_REQUESTS, CreateRequest, StartRequest
from gateway.domain.runtime import Runtime
from gateway.domain.validation import validate
from gateway.domain.values import State
from gateway.ports.error_mapping import transport_error
from gateway.ports.plugin import AdapterPlugin
from gateway.ports.provider import ProviderAdapter, SupportsStart
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.transport import Call, Transport, TransportFailure
from gateway.testing.emulator import EMULATOR, Emulator
from gateway.testing.faults import parse_rules
from gateway.testing.servers import running

ErrorT = TypeVar("ErrorT", bound=Exception)

MakeTransport = Callable[[ProviderSettings], Transport]

TOKEN: Final = "contract-token-3f9a"  # noqa: S105 - the emulator's, made up here
_NOW: Final = 1_780_000_000.0
_DEADLINE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Setup:
    """One way to set the emulator and the provider up. ``pinned`` is whether the provider is pinned to a scope."""

    personality: Mapping[str, str]
    pinned: bool

    @property
    def label(self) -> str:
        """For the name of a test."""
        choices = [f"{name}={choice}" for name, choice in self.personality.items()]
        return ",".join(["pinned" if self.pinned else "open", *choices])


def setups(plugin: AdapterPlugin) -> Iterator[Setup]:
    """Every personality of the emulator with a pinned provider, and an open provider with the default one."""
    names = list(plugin.personalities)
    choices = [dict(zip(names, values, strict=True)) for values in itertools.product(*plugin.personalities.values())]
    for personality in choices:
        yield Setup(personality, pinned=True)
    yield Setup(choices[0], pinned=False)


@dataclass(slots=True)
class Subject:
    """The adapter under test as ``adapter``, and the emulator that it talks to.

    All runtimes of a test are made in one moment, so that no order can come from the time alone.
    """

    plugin: AdapterPlugin
    emulator: Emulator
    url: str
    setup: Setup
    make_transport: MakeTransport
    create_request: Callable[[str], CreateRequest]
    adapter: ProviderAdapter[Any] = field(init=False)
    attempts: int = 0  # of the last call of ``failure``
    _opened: list[Transport] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.adapter = self.make()

    @property
    def scope(self) -> str:
        """The scope in which everything takes place."""
        return self.plugin.demo.scope

    def make(
        self,
        *,
        pinned: bool | None = None,
        token: str = TOKEN,
        url: str | None = None,
        wrap: Callable[[Transport], Transport] = lambda transport: transport,
    ) -> ProviderAdapter[Any]:
        """Another adapter, which differs from the one under test in what is given."""
        demo = self.plugin.demo
        settings = self.plugin.settings.model_validate(
            {
                **(demo.options or {}),
                "name": demo.provider,
                "api": self.plugin.api,
                "base_url": (url or self.url) + demo.base_path,
                "token": token,
                "scope": demo.scope if (self.setup.pinned if pinned is None else pinned) else None,
            }
        )
        transport = self.make_transport(settings)
        self._opened.append(transport)
        return self.plugin.adapter(settings, wrap(transport))

    async def close(self) -> None:
        """Close the transports of all adapters."""
        for transport in self._opened:
            await transport.close()

    def call(self) -> Call:
        """A call with time enough."""
        return Call(deadline=time.monotonic() + _DEADLINE)

    async def create(self, name: str) -> Runtime:
        """Make a runtime with the adapter under test."""
        return (await self.adapter.create(self.create_request(name), self.scope, self.call())).runtime

    async def create_running(self, name: str) -> Runtime:
        """Make a runtime that has compute."""
        runtime = await self.create(name)
        if runtime.state is not State.RUNNING and isinstance(self.adapter, SupportsStart):
            runtime = await self.adapter.start(self.adapter.reference(runtime), StartRequest(), self.call())
        assert runtime.state is State.RUNNING, "a test needs a running runtime"
        return runtime

    def missing(self, like: Runtime) -> RuntimeRef:
        """The address of a runtime that does not exist, of the form that ``like`` has."""
        ref = self.adapter.reference(like)
        name = None if ref.name is None else "nobody-has-this-name"
        return RuntimeRef(ref.scope, "00000000-dead-4bad-8bad-000000000000", name)

    def fault(self, **rule: Any) -> None:
        """Let every call fail in this way from now on (``gateway.testing.faults``)."""
        self.emulator.faults.end_all()
        rules = parse_rules({"operation": "*", **rule}, sorted(set(self.emulator.operations.values())))
        self.emulator.faults.add(rules)

    def sent(self) -> int:
        """How many requests the emulator has received."""
        return len(self.emulator.requests.received())

    async def failure(self, operation: Operation, adapter: ProviderAdapter[Any] | None = None) -> GatewayError:
        """The error that a get, list or create ends with. A missing answer is judged as the use cases judge it."""
        adapter = adapter or self.adapter
        call = self.call()
        try:
            await self._attempt(operation, adapter, call)
        except GatewayError as error:
            return error
        except TransportFailure as failure:
            return transport_error(adapter.name, operation, failure)
        finally:
            self.attempts = len(call.attempts)
        raise AssertionError(f"{operation} succeeded in spite of the fault")

    async def _attempt(self, operation: Operation, adapter: ProviderAdapter[Any], call: Call) -> None:
        if operation is Operation.CREATE:
            await adapter.create(self.create_request("faulty"), self.scope, call)
        elif operation is Operation.LIST:
            await adapter.list(ProviderQuery(scope=self.scope), call)
        else:
            ref = RuntimeRef(self.scope, "00000000-dead-4bad-8bad-000000000000", "faulty")
            await adapter.get(ref, call)


def minimal_create(kind: str, name: str) -> CreateRequest:
    """A create of that kind with nothing but a name; the base of all creates for a kind that has no create body."""
    return validate(CREATE_REQUESTS.get(kind, CreateRequest), {"kind": kind, "name": name})


@contextmanager
def expecting(error: type[ErrorT], otherwise: str) -> Iterator[list[ErrorT]]:
    """The block has to end in this error, which is then in the list. ``otherwise`` says what it means if not."""
    caught: list[ErrorT] = []
    try:
        yield caught
    except error as exc:
        caught.append(exc)
    assert caught, otherwise


@asynccontextmanager
async def subject_of(
    plugin: AdapterPlugin, setup: Setup, make_transport: MakeTransport, create_request: Callable[[str], CreateRequest]
) -> AsyncIterator[Subject]:
    """Start the emulator and give the subject."""
    module, _, function = plugin.emulator.partition(":")
    app = getattr(import_module(module), function)(token=TOKEN, personality=setup.personality, now=lambda: _NOW)
    async with running(app) as url:
        subject = Subject(plugin, app[EMULATOR], url, setup, make_transport, create_request)
        try:
            yield subject
        finally:
            await subject.close()
