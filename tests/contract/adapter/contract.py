"""The contract of every adapter, as a suite.

Subclass :class:`AdapterContract` in a test module: name the plugin and the provider's codes for a rate limit and a
quota, and say how to make a transport and a create of each kind. Provide a pytest fixture ``subject`` that uses
:func:`subject_of`, parametrized with ``setups(plugin)``. The adapter then runs over that transport against its
emulator, in every personality. A wrapper of an adapter passes the same suite.
"""

from collections.abc import Sequence
from itertools import chain, cycle
from typing import Any, Final

import msgspec

from gateway.domain.errors import InvalidRequest, NotFound
from gateway.domain.ids import parse_runtime_id
from gateway.domain.pages import ListFilter, ProviderQuery
from gateway.domain.runtime import ENCODER, PARTS, Runtime
from gateway.domain.values import State, is_uuid
from gateway.ports.provider import Deduplication, SupportsDelete
from gateway.ports.transport import Call, UpstreamRequest, UpstreamResponse, WrappingTransport
from tests.contract.adapter.abilities import AbilityContract
from tests.contract.adapter.creates import CreateContract
from tests.contract.adapter.failures import FailureContract
from tests.contract.adapter.rows import RowContract
from tests.contract.adapter.subject import AdapterUnderTest, Setup, Subject, expecting, pages, setups, subject_of

__all__ = ["AdapterContract", "Setup", "Subject", "setups", "subject_of"]

_MALFORMED_REFERENCES: Final = (
    "",
    "~",
    "~~~~",
    "-",
    "x" * 600,
    "Ym90",
    "Ym90~not-a-uuid",
    "!!~!!",
    "..",
    "%2F",
    "a.b",
    "ü",
)


class AdapterContract(AbilityContract, CreateContract, FailureContract, RowContract, AdapterUnderTest):
    """The behaviour that every adapter has, whatever its provider and the kinds of its runtimes."""

    async def test_a_created_runtime_is_returned_by_get_find_and_list(self, subject: Subject) -> None:
        """All reads return the same runtime, of each kind that can be created."""
        adapter = subject.adapter
        for count, kind in enumerate(subject.created_kinds, 1):
            name = f"a-{kind}"
            created = await adapter.create(subject.create_request(name, kind), subject.scope, subject.call())
            assert created.created
            made = created.runtime
            got = await adapter.get(adapter.reference(made), subject.call())
            (found,) = await adapter.find(subject.scope, name, subject.call())
            page = await adapter.list(ProviderQuery(scope=subject.scope), subject.call())
            (listed,) = (runtime for runtime in page.items if runtime.name == name)
            assert len(page.items) == count
            assert _identity(made) == _identity(got) == _identity(found) == _identity(listed)
            assert made.kind == kind
            assert subject.emulator.creates == count

    async def test_a_runtime_is_complete(self, subject: Subject) -> None:
        """It has its place, its state, its actions, and the part of its kind and of no other."""
        adapter = subject.adapter
        for kind in subject.created_kinds:
            made = await subject.create(f"a-{kind}", kind)
            assert (made.provider, made.scope, made.name) == (adapter.name, subject.scope, f"a-{kind}")
            assert made.kind in adapter.kinds
            assert made.state is not State.UNKNOWN
            assert made.actions
            assert {part for part in PARTS.values() if getattr(made, part) is not None} == {PARTS[kind]}
            assert made.provider_state
            assert msgspec.json.decode(ENCODER.encode(made), type=Runtime) == made

    async def test_an_id_alone_addresses_a_runtime(self, subject: Subject) -> None:
        """Another adapter, which has stored nothing, reads the runtime by its id."""
        made = await subject.create("one")
        provider, reference = parse_runtime_id(made.id)
        fresh = subject.make()
        ref = fresh.parse_reference(reference)
        assert provider == fresh.name
        assert ref == subject.adapter.reference(made)
        assert fresh.format_reference(ref) == reference
        assert ref.scope == subject.scope
        assert _identity(await fresh.get(ref, subject.call())) == _identity(made)

    async def test_a_reference_with_its_uuid_in_upper_case_is_the_same(self, subject: Subject) -> None:
        """UUIDs are compared without case; ids of another form are compared as they are."""
        made = await subject.create("one")
        _, reference = parse_runtime_id(made.id)
        if not is_uuid(made.provider_id):
            assert made.provider_id in reference
            return
        upper = reference.replace(made.provider_id, made.provider_id.upper())
        assert subject.adapter.parse_reference(upper) == subject.adapter.reference(made)

    async def test_a_malformed_reference_is_not_found_without_a_call(self, subject: Subject) -> None:
        """This includes the reference of a provider that is open where this one is pinned, or the other way round."""
        made = await subject.create("one")
        other = subject.make(pinned=not subject.setup.pinned)
        foreign = parse_runtime_id((await other.get(other.reference(made), subject.call())).id)[1]
        before = subject.sent()
        for reference in (*_MALFORMED_REFERENCES, foreign):
            with expecting(NotFound, f"{reference!r} was accepted as a reference"):
                subject.adapter.parse_reference(reference)
        assert subject.sent() == before

    async def test_a_scope_has_one_canonical_form(self, subject: Subject) -> None:
        """Parsing it again changes nothing, and text that is not a scope is refused with a sentence."""
        assert subject.adapter.parse_scope(subject.scope) == subject.scope
        for text in ("", "/", "a/b/c", "..", "a\nb"):
            with expecting(ValueError, f"{text!r} was accepted as a scope") as caught:
                subject.adapter.parse_scope(text)
            assert str(caught[0])

    async def test_a_missing_runtime_is_not_found(self, subject: Subject) -> None:
        """A get raises and a find returns nothing, also where other runtimes exist."""
        made = await subject.create("one")
        with expecting(NotFound, "a runtime was found that does not exist"):
            await subject.adapter.get(subject.missing(made), subject.call())
        assert not await subject.adapter.find(subject.scope, "on", subject.call())

    async def test_a_second_create_of_a_name_returns_the_first_runtime_where_names_deduplicate(
        self, subject: Subject
    ) -> None:
        """An adapter with ``Deduplication.BY_NAME`` declares this; the test applies to no other."""
        if subject.adapter.deduplication is not Deduplication.BY_NAME:
            return
        first = await subject.create("one")
        second = await subject.adapter.create(subject.create_request("one"), subject.scope, subject.call())
        assert not second.created
        assert _identity(second.runtime) == _identity(first)
        assert subject.emulator.creates == 1

    async def test_members_and_states_of_a_later_version_are_read(self, subject: Subject) -> None:
        """An unknown state reads as unknown, a new member is in ``provider_data`` without secrets, in every read."""
        made = await subject.create("one")
        later = subject.make(wrap=_LaterVersion)
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
        """One page without rows and without a cursor."""
        page = await subject.adapter.list(ProviderQuery(scope=subject.scope), subject.call())
        assert (list(page.items), page.next_cursor) == ([], None)

    async def test_a_list_is_narrowed_by_every_filter(self, subject: Subject) -> None:
        """The adapter filters where the provider cannot."""
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
        """The limit changes from page to page, and runtimes are created and deleted between pages."""
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
        assert visits > 2, "too few pages to test"
        assert sorted(name for name in seen if name in lasting) == lasting
        assert len(seen) == len(set(seen))

    async def test_a_malformed_cursor_is_an_invalid_request(self, subject: Subject) -> None:
        """It is the caller's error, not the provider's."""
        query = ProviderQuery(scope=subject.scope, cursor="mangled")
        with expecting(InvalidRequest, "a malformed cursor was accepted"):
            await subject.adapter.list(query, subject.call())


def _identity(runtime: Runtime) -> tuple[Any, ...]:
    return (runtime.id, runtime.provider_id, runtime.name, runtime.scope, runtime.kind, runtime.state)


async def _names(subject: Subject, wanted: ListFilter) -> Sequence[str]:
    query = ProviderQuery(scope=subject.scope, filter=wanted)
    return [row.name or "" async for page in pages(subject.adapter, query, subject.call()) for row in page.items]


_CANARY: Final = "hunter2-of-a-later-version"


class _LaterVersion(WrappingTransport):
    """A transport to a later version of the provider: every object with a status has an unknown one, and further
    members, two of which are secrets."""

    async def send(self, request: UpstreamRequest, call: Call) -> UpstreamResponse:
        response = await self.inner.send(request, call)
        body = msgspec.json.encode(_of_later_version(msgspec.json.decode(response.body)))
        return UpstreamResponse(response.status, response.headers, body)


def _of_later_version(value: Any) -> Any:
    if isinstance(value, list):
        return [_of_later_version(item) for item in value]
    if not isinstance(value, dict):
        return value
    later = {name: _of_later_version(member) for name, member in value.items()}
    if isinstance(later.get("status"), str):
        later |= {"status": "levitating", "altitude": {"metres": 3, "radioToken": _CANARY}, "towerPassword": _CANARY}
    return later
