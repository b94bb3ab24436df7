"""The part of the adapter contract about unreadable rows: a list omits each alone, and none is a proof of absence."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from gateway.domain.errors import ProviderBadResponse
from gateway.domain.pages import ListFilter, ProviderQuery, UnreadableRow
from gateway.domain.values import Operation
from gateway.ports.transport import Call, Transport, UpstreamRequest, UpstreamResponse, WrappingTransport
from tests.contract.adapter.subject import Subject, expecting, pages

_CANARY: Final = "hunter2-of-an-odd-row"
_PLACEHOLDER: Final = "where-the-raw-json-goes"
_ODD: Final = "odd"

Row = dict[str, Any]

NAMED: Final[Mapping[str, tuple[Callable[[Row], Any], bytes]]] = {
    "a number as the id": (lambda row: {**row, "id": 7}, b""),
    "an array as the id": (lambda row: {**row, "id": [_CANARY]}, b""),
    "no id": (lambda row: {name: value for name, value in row.items() if name != "id"}, b""),
    "a number as the status": (lambda row: {**row, "status": 7}, b""),
    "text for each number": (lambda row: {**_texts(row), "status": {"is": _CANARY}}, b""),
    "a member nested 900 levels deep": (lambda row: {**row, "deep": _PLACEHOLDER}, b"[" * 900 + b"]" * 900),
    "a member nested 1,500 levels deep": (lambda row: {**row, "deep": _PLACEHOLDER}, b"[" * 1500 + b"]" * 1500),
    "a member nested 5,000 levels deep": (
        lambda row: {**row, "deep": _PLACEHOLDER},
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
    ),
    "half of a surrogate pair": (lambda row: {**row, "status": _PLACEHOLDER}, b'"\\ud83d"'),
}
"""Unreadable rows whose name can be read: how the row is changed, and the JSON that replaces the placeholder."""

NAMELESS: Final[Mapping[str, tuple[Callable[[Row], Any], bytes]]] = {
    "a number": (lambda _: 7, b""),
    "text": (lambda _: _CANARY, b""),
    "null": (lambda _: None, b""),
    "an array": (lambda row: [row], b""),
    "an empty object": (lambda _: {}, b""),
    "a number as every text": (lambda row: {k: 7 if isinstance(v, str) else v for k, v in row.items()}, b""),
    "nothing but depth": (lambda _: _PLACEHOLDER, b"[" * 5000 + b"]" * 5000),
}
"""Unreadable rows whose name cannot be read either."""


class RowContract:
    """A row that the adapter cannot read is missing from lists and reported without its values. A look-up by name
    raises where such a row may have the name."""

    async def test_a_list_omits_an_unreadable_row_and_keeps_the_others(self, subject: Subject) -> None:
        """Each row is reported once, without its values."""
        for name in ("before", _ODD, "after"):
            await subject.create(name)
        for what, damage in {**NAMED, **NAMELESS}.items():
            listed, unreadable, call = await _list_all(subject, damage)
            assert sorted(listed) == ["after", "before"], f"{what} removes other rows"
            assert [row.path for row in unreadable], f"{what} is not reported"
            assert call.unreadable_count == len(unreadable) == 1, f"{what} is not noted on the call once"
            assert _CANARY not in repr(unreadable), f"a value of {what} is reported"

    async def test_an_unreadable_row_is_reported_with_its_id_and_the_path_of_the_fault(self, subject: Subject) -> None:
        made = await subject.create(_ODD)
        _, (row,), _ = await _list_all(subject, NAMED["a number as the status"])
        assert row.id is not None
        assert (row.id.lower(), row.path[1:]) == (made.provider_id, (0, "status"))
        _, (row,), _ = await _list_all(subject, NAMED["a member nested 1,500 levels deep"])
        assert row.path[1:] == (0, "deep")

    async def test_a_page_of_unreadable_rows_only_is_not_readable(self, subject: Subject) -> None:
        """It is neither an empty page nor a failure."""
        await subject.create(_ODD)
        adapter = _damaged(subject, NAMED["a number as the status"])
        page = await adapter.list(ProviderQuery(scope=subject.scope), subject.call())
        assert (list(page.items), len(page.unreadable), page.readable) == ([], 1, False)
        whole = await subject.adapter.list(ProviderQuery(scope=subject.scope), subject.call())
        assert (len(whole.items), len(whole.unreadable), whole.readable) == (1, 0, True)

    async def test_a_list_by_name_does_not_report_unreadable_rows_of_other_names(self, subject: Subject) -> None:
        """A row whose name cannot be read may have any name."""
        for name in ("before", _ODD):
            await subject.create(name)
        for damage, expected in ((NAMED["no id"], 0), (NAMELESS["a number"], 1)):
            adapter = _damaged(subject, damage, everywhere=True)
            query = ProviderQuery(scope=subject.scope, filter=ListFilter(name="before"))
            page = await adapter.list(query, subject.call())
            assert [runtime.name for runtime in page.items] == ["before"]
            assert len(page.unreadable) == expected

    async def test_an_unreadable_row_of_the_name_is_no_proof_of_absence(self, subject: Subject) -> None:
        """A look-up raises, unless it finds the runtime in another way."""
        await subject.create(_ODD)
        for what, damage in {**NAMED, **NAMELESS}.items():
            adapter = _damaged(subject, damage)
            try:
                found = await adapter.find_with_markers(subject.scope, _ODD, subject.call())
            except ProviderBadResponse:
                continue
            assert [seen.runtime.name for seen in found] == [_ODD], f"{what} was accepted as the absence of the runtime"

    async def test_a_look_up_raises_for_an_unreadable_row_unless_it_has_another_name(self, subject: Subject) -> None:
        """No runtime has the name. Only a row with a readable, different name leaves that certain."""
        await subject.create(_ODD)
        for what, damage in NAMED.items():
            found = await _damaged(subject, damage, everywhere=True).find(subject.scope, "absent", subject.call())
            assert not found, f"{what} was found under another name"
        for what, damage in NAMELESS.items():
            with expecting(ProviderBadResponse, f"{what} was accepted as the absence of a runtime"):
                await _damaged(subject, damage, everywhere=True).find_with_markers(
                    subject.scope, "absent", subject.call()
                )


async def _list_all(
    subject: Subject, damage: tuple[Callable[[Row], Any], bytes]
) -> tuple[list[str], list[UnreadableRow], Call]:
    """Return the names on all pages, the unreadable rows of the list, and the call, which has noted them too."""
    adapter, call = _damaged(subject, damage), subject.call()
    names: list[str] = []
    unreadable: list[UnreadableRow] = []
    async for page in pages(adapter, ProviderQuery(scope=subject.scope), call):
        names += [runtime.name or "" for runtime in page.items]
        unreadable += page.unreadable
    return names, unreadable, call


def _damaged(subject: Subject, damage: tuple[Callable[[Row], Any], bytes], *, everywhere: bool = False) -> Any:
    change, raw = damage
    return subject.make(wrap=lambda transport: _OddRow(transport, change, raw, everywhere=everywhere))


def _texts(row: Any) -> Any:
    if isinstance(row, dict):
        return {name: _texts(value) for name, value in row.items()}
    return str(row) if isinstance(row, int | float) and not isinstance(row, bool) else row


class _OddRow(WrappingTransport):
    """A transport to a provider that lists the runtime ``odd`` in an unreadable form. With ``everywhere`` its lists
    hold that runtime whatever name they are narrowed to."""

    def __init__(self, transport: Transport, change: Callable[[Row], Any], raw: bytes, *, everywhere: bool) -> None:
        super().__init__(transport)
        self._change = change
        self._raw = raw
        self._everywhere = everywhere

    async def send(self, request: UpstreamRequest, call: Call) -> UpstreamResponse:
        if request.operation is not Operation.LIST:
            return await self.inner.send(request, call)
        if self._everywhere:
            request = _unnarrowed(request)
        response = await self.inner.send(request, call)
        page = msgspec.json.decode(response.body)
        for member, rows in page.items():
            if isinstance(rows, list):
                page[member] = [self._change(row) if _ODD in row.values() else row for row in rows]
        body = msgspec.json.encode(page).replace(f'"{_PLACEHOLDER}"'.encode(), self._raw or b"null")
        return UpstreamResponse(response.status, response.headers, body)


def _unnarrowed(request: UpstreamRequest) -> UpstreamRequest:
    """Return the request without the parameter that narrows a list to a name."""
    query = [(name, value) for name, value in request.query if name != "name"]
    return UpstreamRequest(request.operation, request.method, request.path, query, request.headers, request.body)
