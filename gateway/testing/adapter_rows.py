"""The part of the adapter contract about rows that cannot be read: each costs itself, and is no proof of absence."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from gateway.domain.errors import ProviderBadResponse
from gateway.domain.operations import Operation
from gateway.domain.pages import ListFilter, ProviderQuery, UnreadableRow
from gateway.ports.transport import Call, Transport, UpstreamRequest, UpstreamResponse
from gateway.testing.adapter_subject import Subject, expecting

_CANARY: Final = "hunter2-of-an-odd-row"
_HOLE: Final = "where-the-raw-json-goes"
_ODD: Final = "odd"

Row = dict[str, Any]

NAMED: Final[Mapping[str, tuple[Callable[[Row], Any], bytes]]] = {
    "a number as the id": (lambda row: {**row, "id": 7}, b""),
    "an array as the id": (lambda row: {**row, "id": [_CANARY]}, b""),
    "no id": (lambda row: {name: value for name, value in row.items() if name != "id"}, b""),
    "a number as the status": (lambda row: {**row, "status": 7}, b""),
    "text for each number": (lambda row: {**_texts(row), "status": {"is": _CANARY}}, b""),
    "a member nested 900 levels deep": (lambda row: {**row, "deep": _HOLE}, b"[" * 900 + b"]" * 900),
    "a member nested 1,500 levels deep": (lambda row: {**row, "deep": _HOLE}, b"[" * 1500 + b"]" * 1500),
    "a member nested 5,000 levels deep": (lambda row: {**row, "deep": _HOLE}, b'{"a":' * 5000 + b"1" + b"}" * 5000),
    "half of a surrogate pair": (lambda row: {**row, "status": _HOLE}, b'"\\ud83d"'),
}
"""Rows that cannot be read and whose name can: what becomes of the row, and the JSON in the place of the hole."""

NAMELESS: Final[Mapping[str, tuple[Callable[[Row], Any], bytes]]] = {
    "a number": (lambda _: 7, b""),
    "text": (lambda _: _CANARY, b""),
    "null": (lambda _: None, b""),
    "an array": (lambda row: [row], b""),
    "an empty object": (lambda _: {}, b""),
    "a number as every text": (lambda row: {k: 7 if isinstance(v, str) else v for k, v in row.items()}, b""),
    "nothing but depth": (lambda _: _HOLE, b"[" * 5000 + b"]" * 5000),
}
"""Rows of which not even the name can be read."""


class RowContract:
    """A row that the adapter cannot read is left out of lists and named without its values; a look-up by name that it
    makes unclear raises."""

    async def test_a_row_that_cannot_be_read_costs_that_row(self, subject: Subject) -> None:
        """Whatever is wrong with it, the rows around it are listed."""
        for name in ("before", _ODD, "after"):
            await subject.create(name)
        for what, damage in {**NAMED, **NAMELESS}.items():
            listed, unreadable, call = await _list_all(subject, damage)
            assert sorted(listed) == ["after", "before"], f"{what} costs other rows"
            assert [row.path for row in unreadable], f"{what} is not named"
            assert call.unreadable_count == len(unreadable) == 1, f"{what} is not noted on the call, or more than once"
            assert _CANARY not in repr(unreadable), f"a value of {what} is named"

    async def test_the_runtime_of_an_unreadable_row_is_named_by_its_id(self, subject: Subject) -> None:
        """And the member at fault by its path."""
        made = await subject.create(_ODD)
        _, (row,), _ = await _list_all(subject, NAMED["a number as the status"])
        assert row.id is not None
        assert (row.id.lower(), row.path[1:]) == (made.provider_id, (0, "status"))
        _, (row,), _ = await _list_all(subject, NAMED["a member nested 1,500 levels deep"])
        assert row.path[1:] == (0, "deep")

    async def test_a_list_of_unreadable_rows_only_says_so(self, subject: Subject) -> None:
        """It is not an empty list, nor a failure."""
        await subject.create(_ODD)
        adapter = _damaged(subject, NAMED["a number as the status"])
        page = await adapter.list(ProviderQuery(scope=subject.scope), subject.call())
        assert (list(page.items), len(page.unreadable), page.readable) == ([], 1, False)
        whole = await subject.adapter.list(ProviderQuery(scope=subject.scope), subject.call())
        assert (len(whole.items), len(whole.unreadable), whole.readable) == (1, 0, True)

    async def test_a_list_by_name_does_not_name_rows_of_other_names(self, subject: Subject) -> None:
        """A row whose name cannot be read may belong to any."""
        for name in ("before", _ODD):
            await subject.create(name)
        for damage, expected in ((NAMED["no id"], 0), (NAMELESS["a number"], 1)):
            adapter = _damaged(subject, damage, everywhere=True)
            query = ProviderQuery(scope=subject.scope, filter=ListFilter(name="before"))
            page = await adapter.list(query, subject.call())
            assert [runtime.name for runtime in page.items] == ["before"]
            assert len(page.unreadable) == expected

    async def test_an_unreadable_row_of_the_name_is_no_proof_of_absence(self, subject: Subject) -> None:
        """A look-up raises, unless the runtime is found in another way."""
        await subject.create(_ODD)
        for what, damage in {**NAMED, **NAMELESS}.items():
            adapter = _damaged(subject, damage)
            try:
                found = await adapter.find_with_markers(subject.scope, _ODD, subject.call())
            except ProviderBadResponse:
                continue
            assert [seen.runtime.name for seen in found] == [_ODD], f"{what} was taken for the absence of the runtime"

    async def test_an_unreadable_row_makes_a_look_up_unclear_unless_it_has_another_name(self, subject: Subject) -> None:
        """What is sought is not there: only a row with another name, that can be read, leaves no doubt."""
        await subject.create(_ODD)
        for what, damage in NAMED.items():
            found = await _damaged(subject, damage, everywhere=True).find(subject.scope, "absent", subject.call())
            assert not found, f"{what} was found under another name"
        for what, damage in NAMELESS.items():
            with expecting(ProviderBadResponse, f"{what} was taken for the absence of a runtime"):
                await _damaged(subject, damage, everywhere=True).look(subject.scope, "absent", subject.call())


async def _list_all(
    subject: Subject, damage: tuple[Callable[[Row], Any], bytes]
) -> tuple[list[str], list[UnreadableRow], Call]:
    """The names over all pages, and the unreadable rows as the list and as the call has them."""
    adapter, call = _damaged(subject, damage), subject.call()
    names: list[str] = []
    unreadable: list[UnreadableRow] = []
    cursor = None
    for _ in range(50):
        page = await adapter.list(ProviderQuery(scope=subject.scope, cursor=cursor), call)
        names += [runtime.name or "" for runtime in page.items]
        unreadable += page.unreadable
        cursor = page.next_cursor
        if cursor is None:
            return names, unreadable, call
    raise AssertionError("the pages do not end")


def _damaged(subject: Subject, damage: tuple[Callable[[Row], Any], bytes], *, everywhere: bool = False) -> Any:
    change, raw = damage
    return subject.make(wrap=lambda transport: _OddRow(transport, change, raw, everywhere=everywhere))


def _texts(row: Any) -> Any:
    """A row in which each number is text."""
    if isinstance(row, dict):
        return {name: _texts(value) for name, value in row.items()}
    return str(row) if isinstance(row, int | float) and not isinstance(row, bool) else row


class _OddRow(Transport):
    """A transport to a provider that lists the runtime of the odd name in a form that cannot be read. With
    ``everywhere`` its list has that runtime whatever it was asked for."""

    def __init__(self, transport: Transport, change: Callable[[Row], Any], raw: bytes, *, everywhere: bool) -> None:
        self._transport = transport
        self._change = change
        self._raw = raw
        self._everywhere = everywhere

    async def send(self, request: UpstreamRequest, call: Call) -> UpstreamResponse:
        if request.operation is not Operation.LIST:
            return await self._transport.send(request, call)
        if self._everywhere:
            request = _unnarrowed(request)
        response = await self._transport.send(request, call)
        page = msgspec.json.decode(response.body)
        for member, rows in page.items():
            if isinstance(rows, list):
                page[member] = [self._change(row) if _ODD in row.values() else row for row in rows]
        body = msgspec.json.encode(page).replace(f'"{_HOLE}"'.encode(), self._raw or b"null")
        return UpstreamResponse(response.status, response.headers, body)

    async def close(self) -> None:
        await self._transport.close()


def _unnarrowed(request: UpstreamRequest) -> UpstreamRequest:
    """The same request without what narrows a list to a name."""
    query = [(name, value) for name, value in request.query if name != "name"]
    return UpstreamRequest(request.operation, request.method, request.path, query, request.headers, request.body)
