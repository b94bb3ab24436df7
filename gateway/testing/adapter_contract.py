"""The contract of every adapter, as a suite that ships with the package.

Subclass :class:`AdapterContract` in a module of tests, say which plugin it is for, what its provider calls a rate
limit and a quota, and how to make a transport and a create. Provide a pytest fixture ``subject`` over
:func:`subject_of`, for each of ``setups(plugin)``. The adapter then talks over that transport to its emulator, in every
personality. A wrapper of an adapter passes the same suite.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import chain, cycle
from typing import Any, ClassVar, Final

import msgspec

from gateway.domain.errors import InvalidRequest, NotFound
from gateway.domain.ids import parse_runtime_id
from gateway.domain.pages import ListFilter, ProviderQuery
from gateway.domain.requests import CreateRequest
from gateway.domain.runtime import ENCODER, Runtime
from gateway.domain.values import State, is_uuid
from gateway.ports.plugin import AdapterPlugin
from gateway.ports.provider import Deduplication, SupportsDelete
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.transport import Call, Transport, UpstreamRequest, UpstreamResponse
from gateway.testing.adapter_abilities import AbilityContract
from gateway.testing.adapter_creates import CreateContract
from gateway.testing.adapter_failures import FailureContract
from gateway.testing.adapter_rows import RowContract
from gateway.testing.adapter_subject import Setup, Subject, expecting, setups, subject_of

__all__ = ["AdapterContract", "Setup", "Subject", "setups", "subject_of"]

_NO_REFERENCES: Final = ("", "~", "~~~~", "-", "x" * 600, "Ym90", "Ym90~not-a-uuid", "!!~!!", "..", "%2F", "a.b", "ü")


class AdapterContract(AbilityContract, CreateContract, FailureContract, RowContract, ABC):
    """What every adapter does, whatever its provider."""

    plugin: ClassVar[AdapterPlugin]

    @abstractmethod
    def make_transport(self, settings: ProviderSettings) -> Transport:
        """A transport to the provider of these settings."""

    @abstractmethod
    def create_request(self, name: str) -> CreateRequest:
        """A create of that name which carries a secret."""

    async def test_what_was_created_is_got_found_and_listed(self, subject: Subject) -> None:
        """All ways to read show the same runtime."""
        adapter = subject.adapter
        created = await adapter.create(subject.create_request("one"), subject.scope, subject.call())
        assert created.created
        made = created.runtime
        got = await adapter.get(adapter.reference(made), subject.call())
        (found,) = await adapter.find(subject.scope, "one", subject.call())
        (listed,) = (await adapter.list(ProviderQuery(scope=subject.scope), subject.call())).items
        assert _identity(made) == _identity(got) == _identity(found) == _identity(listed)
        assert subject.emulator.creates == 1

    async def test_a_runtime_is_complete(self, subject: Subject) -> None:
        """It says where it is, what it is, and what can be done with it."""
        made = await subject.create("one")
        adapter = subject.adapter
        assert (made.provider, made.scope, made.name) == (adapter.name, subject.scope, "one")
        assert made.kind in adapter.kinds
        assert made.state is not State.UNKNOWN
        assert made.actions
        assert (made.durable is None) == (made.kind != "durable")
        assert (made.browser is None) == (made.kind == "durable")
        assert made.provider_state
        assert msgspec.json.decode(ENCODER.encode(made), type=Runtime) == made

    async def test_an_id_is_all_that_is_needed_to_address_a_runtime(self, subject: Subject) -> None:
        """A fresh adapter, which has stored nothing, reads the runtime by the id alone."""
        made = await subject.create("one")
        provider, reference = parse_runtime_id(made.id)
        fresh = subject.make()
        ref = fresh.parse_reference(reference)
        assert provider == fresh.name
        assert ref == subject.adapter.reference(made)
        assert ref.scope == subject.scope
        assert _identity(await fresh.get(ref, subject.call())) == _identity(made)

    async def test_a_reference_in_another_case_of_its_uuid_is_the_same(self, subject: Subject) -> None:
        """A UUID is one in either case; a provider's ids of another form are what they are."""
        made = await subject.create("one")
        _, reference = parse_runtime_id(made.id)
        if not is_uuid(made.provider_id):
            assert made.provider_id in reference
            return
        shouted = reference.replace(made.provider_id, made.provider_id.upper())
        assert subject.adapter.parse_reference(shouted) == subject.adapter.reference(made)

    async def test_a_malformed_reference_is_not_found_without_a_call(self, subject: Subject) -> None:
        """Also one that a provider with another pinning gave out."""
        made = await subject.create("one")
        other = subject.make(pinned=not subject.setup.pinned)
        foreign = parse_runtime_id((await other.get(other.reference(made), subject.call())).id)[1]
        before = subject.sent()
        for reference in (*_NO_REFERENCES, foreign):
            with expecting(NotFound, f"{reference!r} was taken for a reference"):
                subject.adapter.parse_reference(reference)
        assert subject.sent() == before

    async def test_a_scope_has_one_canonical_form(self, subject: Subject) -> None:
        """Parsing it again changes nothing, and nonsense is refused with a sentence."""
        assert subject.adapter.parse_scope(subject.scope) == subject.scope
        for nonsense in ("", "/", "a/b/c", "..", "a\nb"):
            with expecting(ValueError, f"{nonsense!r} was taken for a scope") as caught:
                subject.adapter.parse_scope(nonsense)
            assert str(caught[0])

    async def test_what_does_not_exist_is_not_found(self, subject: Subject) -> None:
        """A get says so, and a find finds nothing, also beside other runtimes."""
        made = await subject.create("one")
        with expecting(NotFound, "a runtime was found that does not exist"):
            await subject.adapter.get(subject.missing(made), subject.call())
        assert not await subject.adapter.find(subject.scope, "on", subject.call())

    async def test_a_create_sent_twice_does_what_the_adapter_says(self, subject: Subject) -> None:
        """A provider that dedupes by name answers the second with the first one's runtime."""
        if subject.adapter.deduplication is not Deduplication.BY_NAME:
            return
        first = await subject.create("one")
        second = await subject.adapter.create(subject.create_request("one"), subject.scope, subject.call())
        assert not second.created
        assert _identity(second.runtime) == _identity(first)
        assert subject.emulator.creates == 1

    async def test_what_the_provider_adds_later_breaks_nothing(self, subject: Subject) -> None:
        """An unknown state reads as unknown, a new member is shown without secrets, and every way to read goes on."""
        made = await subject.create("one")
        later = subject.make(wrap=_Later)
        got = await later.get(later.reference(made), subject.call())
        (found,) = await later.find(subject.scope, "one", subject.call())
        (listed,) = (await later.list(ProviderQuery(scope=subject.scope), subject.call())).items
        created = await later.create(subject.create_request("two"), subject.scope, subject.call())
        for runtime in (got, found, listed, created.runtime):
            assert runtime.state is State.UNKNOWN
            assert runtime.provider_state["status"] == "levitating"
            assert runtime.provider_data["altitude"] == {"metres": 3}
            assert _CANARY not in repr(runtime)

    async def test_an_empty_scope_has_an_empty_list(self, subject: Subject) -> None:
        """One page, and no more after it."""
        page = await subject.adapter.list(ProviderQuery(scope=subject.scope), subject.call())
        assert (list(page.items), page.next_cursor) == ([], None)

    async def test_a_list_is_narrowed_by_every_filter(self, subject: Subject) -> None:
        """Whether or not the provider can filter."""
        one, _ = await subject.create("one"), await subject.create("two")
        others = frozenset(State) - {one.state}
        assert await _names(subject, ListFilter(name="one")) == ["one"]
        assert await _names(subject, ListFilter(name="three")) == []
        assert sorted(await _names(subject, ListFilter(kinds=frozenset({one.kind})))) == ["one", "two"]
        assert await _names(subject, ListFilter(kinds=frozenset({"teapot"}))) == []
        assert sorted(await _names(subject, ListFilter(states=frozenset({one.state})))) == ["one", "two"]
        assert await _names(subject, ListFilter(states=others)) == []
        assert await _names(subject, ListFilter(states=frozenset({State.UNKNOWN}))) == []

    async def test_pages_skip_and_repeat_nothing(self, subject: Subject) -> None:
        """While the limit changes from page to page and runtimes come and go in between."""
        adapter = subject.adapter
        lasting = [f"lasting-{number}" for number in range(9)]
        for name in lasting:
            await subject.create(name)
        passing = [await subject.create(f"passing-{number}") for number in range(3)]
        seen: list[str | None] = []
        cursor, visits = None, 0
        for limit in chain((2, 1, 4, 3), cycle((2, 100))):
            query = ProviderQuery(scope=subject.scope, limit=limit, cursor=cursor)
            page = await adapter.list(query, subject.call())
            seen += [runtime.name for runtime in page.items]
            cursor, visits = page.next_cursor, visits + 1
            if cursor is None:
                break
            assert visits < 50, "the pages do not end"
            if visits < 4:
                await subject.create(f"late-{visits}")
            if passing and isinstance(adapter, SupportsDelete):
                await adapter.delete(adapter.reference(passing.pop()), subject.call())
        assert visits > 2, "there was only a page or two to test"
        assert sorted(name for name in seen if name in lasting) == lasting
        assert len(seen) == len(set(seen))

    async def test_a_mangled_cursor_is_the_callers_fault(self, subject: Subject) -> None:
        """It is told as a bad request, not as a failure of the provider."""
        query = ProviderQuery(scope=subject.scope, cursor="mangled")
        with expecting(InvalidRequest, "a mangled cursor was taken"):
            await subject.adapter.list(query, subject.call())


def _identity(runtime: Runtime) -> tuple[Any, ...]:
    return (runtime.id, runtime.provider_id, runtime.name, runtime.scope, runtime.kind, runtime.state)


async def _names(subject: Subject, wanted: ListFilter) -> Sequence[str]:
    """The names over all pages."""
    names: list[str] = []
    cursor = None
    for _ in range(50):
        query = ProviderQuery(scope=subject.scope, filter=wanted, cursor=cursor)
        page = await subject.adapter.list(query, subject.call())
        names += [runtime.name or "" for runtime in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return names
    raise AssertionError("the pages do not end")


_CANARY: Final = "hunter2-of-a-later-version"


class _Later(Transport):
    """A transport to a later version of the provider: every object with a status has one that is new, and members
    more, secrets among them."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def send(self, request: UpstreamRequest, call: Call) -> UpstreamResponse:
        response = await self._transport.send(request, call)
        body = msgspec.json.encode(_aged(msgspec.json.decode(response.body)))
        return UpstreamResponse(response.status, response.headers, body)

    async def close(self) -> None:
        await self._transport.close()


def _aged(value: Any) -> Any:
    if isinstance(value, list):
        return [_aged(item) for item in value]
    if not isinstance(value, dict):
        return value
    aged = {name: _aged(member) for name, member in value.items()}
    if isinstance(aged.get("status"), str):
        aged |= {
            "status": "levitating",
            "altitude": {"metres": 3, "radioToken": _CANARY},
            "towerPassword": _CANARY,
        }
    return aged
