"""What the adapter contract runs on: an adapter over a real transport, and its provider's running emulator."""

import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, ClassVar, Final, TypeVar

from msgspec import structs

from gateway.domain.errors import GatewayError
from gateway.domain.ids import RuntimeRef
from gateway.domain.pages import ProviderPage, ProviderQuery
from gateway.domain.requests import CREATE_REQUESTS, CreateRequest, StartRequest
from gateway.domain.runtime import Runtime
from gateway.domain.validation import validate
from gateway.domain.values import Kind, Operation, State
from gateway.ports.error_mapping import transport_error
from gateway.ports.plugin import AdapterPlugin
from gateway.ports.provider import ProviderAdapter, SupportsStart
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.transport import Call, Transport, TransportFailure
from gateway.testing.emulator import EMULATOR, Emulator
from gateway.testing.faults import parse_rules
from gateway.testing.processes import running

ErrorT = TypeVar("ErrorT", bound=Exception)

TOKEN: Final = "contract-token-3f9a"
_MISSING_ID: Final = "00000000-dead-4bad-8bad-000000000000"
_NOW: Final = 1_780_000_000.0
_CALL_SECONDS: Final = 60.0


class AdapterUnderTest(ABC):
    """What the contract needs to know of an adapter: its plugin, a transport, and a sample of each kind of create.

    The suite asks for samples of the kinds in ``plugin.adapter.creates`` only, so it knows no kind by name.
    """

    plugin: ClassVar[AdapterPlugin]

    @abstractmethod
    def make_transport(self, settings: ProviderSettings) -> Transport:
        """Return a transport to the provider of these settings."""

    @abstractmethod
    def create_request(self, kind: Kind, name: str) -> CreateRequest:
        """Return a create of this kind and name that carries a secret (``secret_values()`` is not empty), so that the
        suite can check that no runtime and no error shows it."""

    def minimal_create(self, kind: Kind, name: str) -> CreateRequest:
        """Return a create with the required members only. Override it for a kind that requires more than a name."""
        return validate(CREATE_REQUESTS[kind], {"kind": kind, "name": name})

    def another_create(self, kind: Kind, name: str) -> CreateRequest:
        """Return a create of a kind that the adapter does not make. It is refused before its other members are read,
        so a member that the kind requires may be missing."""
        return CREATE_REQUESTS.get(kind, CreateRequest).model_construct({"kind", "name"}, kind=kind, name=name)


@dataclass(frozen=True, slots=True)
class Setup:
    """One way to set up the emulator and the provider. ``pinned``: the provider's settings name the scope."""

    personality: Mapping[str, str]
    pinned: bool

    @property
    def label(self) -> str:
        """For the id of a parametrized test."""
        choices = [f"{name}={choice}" for name, choice in self.personality.items()]
        return ",".join(["pinned" if self.pinned else "open", *choices])


def setups(plugin: AdapterPlugin) -> Iterator[Setup]:
    """Every personality of the emulator with a pinned provider, and the default one also with an open provider."""
    names = list(plugin.personalities)
    choices = [dict(zip(names, values, strict=True)) for values in itertools.product(*plugin.personalities.values())]
    for personality in choices:
        yield Setup(personality, pinned=True)
    yield Setup(choices[0], pinned=False)


@dataclass(slots=True)
class Subject:
    """``adapter``, the adapter under test, and ``emulator``, its provider.

    The emulator's clock does not advance: all runtimes of a test have one time, so it alone gives no order.
    """

    source: AdapterUnderTest
    emulator: Emulator
    url: str
    setup: Setup
    adapter: ProviderAdapter[Any] = field(init=False)
    attempts: int = 0
    """How many requests the last call of :meth:`failure` sent."""
    _opened: list[Transport] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.adapter = self.make()

    @property
    def plugin(self) -> AdapterPlugin:
        return self.source.plugin

    @property
    def scope(self) -> str:
        return self.plugin.demo.scope

    @property
    def created_kinds(self) -> list[Kind]:
        """The kinds that a create can make, the one that most tests use first."""
        return sorted(self.adapter.creates)

    def create_request(self, name: str, kind: Kind | None = None) -> CreateRequest:
        """Return the sample of a create with a secret, of the first kind if none is given."""
        return self.source.create_request(kind or self.created_kinds[0], name)

    def make(
        self,
        *,
        pinned: bool | None = None,
        token: str = TOKEN,
        url: str | None = None,
        wrap: Callable[[Transport], Transport] = lambda transport: transport,
    ) -> ProviderAdapter[Any]:
        """Make another adapter that differs from the one under test in the given arguments."""
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
        transport = self.source.make_transport(settings)
        self._opened.append(transport)
        return self.plugin.adapter(settings, wrap(transport))

    async def close(self) -> None:
        for transport in self._opened:
            await transport.close()

    def call(self) -> Call:
        """Return a call whose deadline no test reaches."""
        return Call(deadline=time.monotonic() + _CALL_SECONDS)

    async def create(self, name: str, kind: Kind | None = None) -> Runtime:
        """Create a runtime with the adapter under test."""
        return (await self.adapter.create(self.create_request(name, kind), self.scope, self.call())).runtime

    async def create_running(self, name: str, kind: Kind | None = None) -> Runtime:
        """Create a runtime that has compute; start it where a create does not."""
        runtime = await self.create(name, kind)
        if runtime.state is not State.RUNNING and isinstance(self.adapter, SupportsStart):
            runtime = await self.adapter.start(self.adapter.reference(runtime), StartRequest(), self.call())
        assert runtime.state is State.RUNNING, "a test needs a running runtime"
        return runtime

    def missing(self, like: Runtime) -> RuntimeRef:
        """Return the address of a runtime that does not exist, in the form of the address of ``like``."""
        ref = self.adapter.reference(like)
        name = None if ref.name is None else "no-runtime-has-this-name"
        return RuntimeRef(ref.scope, _MISSING_ID, name)

    def fault(self, **rule: Any) -> None:
        """Make every later call fail as ``rule`` says (``gateway.testing.faults``), in place of earlier faults."""
        self.emulator.faults.end_all()
        rules = parse_rules({"operation": "*", **rule}, sorted(set(self.emulator.operations.values())))
        self.emulator.faults.add(rules)

    def sent(self) -> int:
        """Return how many requests the emulator has received."""
        return len(self.emulator.requests.received())

    async def failure(self, operation: Operation, adapter: ProviderAdapter[Any] | None = None) -> GatewayError:
        """Return the error of a get, list or create; a missing response is judged as the use cases judge it.

        Raises ``AssertionError`` if the call succeeds."""
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
            await adapter.get(RuntimeRef(self.scope, _MISSING_ID, "faulty"), call)


async def pages(adapter: ProviderAdapter[Any], query: ProviderQuery, call: Call) -> AsyncIterator[ProviderPage]:
    """The pages of a list. Raises ``AssertionError`` if there are more than 50."""
    for _ in range(50):
        page = await adapter.list(query, call)
        yield page
        if page.next_cursor is None:
            return
        query = structs.replace(query, cursor=page.next_cursor)
    raise AssertionError("the pages do not end")


@contextmanager
def expecting(error: type[ErrorT], otherwise: str) -> Iterator[list[ErrorT]]:
    """Require that the block raises ``error``, which is then in the list. ``otherwise`` says what else it means."""
    caught: list[ErrorT] = []
    try:
        yield caught
    except error as exc:
        caught.append(exc)
    assert caught, otherwise


@asynccontextmanager
async def subject_of(source: AdapterUnderTest, setup: Setup) -> AsyncIterator[Subject]:
    """Start the emulator in the personality of ``setup`` and yield the subject; stop it at the end."""
    module, _, function = source.plugin.emulator.partition(":")
    app = getattr(import_module(module), function)(token=TOKEN, personality=setup.personality, now=lambda: _NOW)
    async with running(app) as url:
        subject = Subject(source, app[EMULATOR], url, setup)
        try:
            yield subject
        finally:
            await subject.close()
