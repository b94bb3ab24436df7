"""Unreadable rows: the other rows of the page are kept, and the unreadable ones are described."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import ProviderBadResponse
from gateway.domain.pages import UnreadableRow
from gateway.ports import rows
from gateway.ports.rows import PageRead, read_page, require_clear
from gateway.ports.transport import Call
from tests.unit.adapters.fakes import call_in_time

CANARY = "hunter2"


class Inner(msgspec.Struct):
    credits: int | float | None = None
    tags: dict[str, int] = {}


class Row(msgspec.Struct):
    id: str
    alias: str | None = None
    inner: Inner | None = None
    many: list[Inner] = []


class Page(msgspec.Struct):
    items: list[Row]
    cursor: str | None = None


_PAGE = msgspec.json.Decoder(Page)
_ROW = msgspec.json.Decoder(Row)


def _whole(body: bytes) -> tuple[str | None, list[Row]]:
    page = _PAGE.decode(body)
    return page.cursor, page.items


def _read(body: bytes, call: Call | None = None, row: Any = _ROW.decode, whole: Any = _whole) -> PageRead[Any, Row]:
    return read_page(body, call or call_in_time(), member="items", name="alias", whole=whole, row=row)


def _page(*raws: bytes, cursor: str = '"next"') -> bytes:
    return b'{"items":[' + b",".join(raws) + b'],"cursor":' + cursor.encode() + b"}"


def _nested(levels: int, opening: bytes) -> bytes:
    return opening * levels + b"1" + (b"]" if opening == b"[" else b"}") * levels


def test_a_readable_page_is_decoded_once_and_kept_unchanged() -> None:
    calls: list[bytes] = []

    def whole(body: bytes) -> tuple[str | None, list[Row]]:
        calls.append(body)
        return _whole(body)

    body = _page(b'{"id": "a"}', b'{"id":"b"}')
    read = _read(body, whole=whole)
    assert ([row.id for row in read.items], read.frame, read.unreadable, read.readable) == (
        ["a", "b"],
        "next",
        (),
        True,
    )
    assert (read.body, calls) == (body, [body])


@pytest.mark.parametrize(
    ("raw", "pointer", "problem", "row_id", "name"),
    [
        (
            b'{"id":"b","alias":"x","inner":{"credits":"hunter2"}}',
            "#/items/1/inner/credits",
            "should be `int | float | null` and is `str`",
            "b",
            "x",
        ),
        (b'{"id":7,"alias":"x"}', "#/items/1/id", "should be `str` and is `int`", None, "x"),
        (b'{"alias":"x"}', "#/items/1/id", "is missing", None, "x"),
        (b'{"id":"b","alias":["hunter2"]}', "#/items/1/alias", "should be `str | null` and is `array`", "b", None),
        (
            b'{"id":"b","many":[{},{"credits":{}}]}',
            "#/items/1/many/1/credits",
            "should be `int | float | null` and is `object`",
            "b",
            None,
        ),
        (
            b'{"id":"b","inner":{"tags":{"hunter2":"hunter2"}}}',
            "#/items/1/inner/tags",
            "should be `int` and is `str`",
            "b",
            None,
        ),
        (b"7", "#/items/1", "should be `object` and is `int`", None, None),
        (b'"hunter2"', "#/items/1", "should be `object` and is `str`", None, None),
        (b"null", "#/items/1", "should be `object` and is `null`", None, None),
        (b"[]", "#/items/1", "should be `object` and is `array`", None, None),
        (b'{"id":"b\xff","alias":"x"}', "#/items/1/id", "has text that is not Unicode", None, "x"),
        (b'{"id":"b","alias":"\\ud83d"}', "#/items/1/alias", "has text that is not Unicode", "b", None),
        (
            b'{"id":"b","more":"\\uDE00 \\u00e4","alias":"x"}',
            "#/items/1/more",
            "has text that is not Unicode",
            "b",
            "x",
        ),
    ],
)
def test_an_unreadable_row_is_left_out_and_described_without_values(
    raw: bytes, pointer: str, problem: str, row_id: str | None, name: str | None
) -> None:
    call = call_in_time()
    read = _read(_page(b'{"id":"a"}', raw, b'{"id":"c","unknown":true}'), call)
    assert ([row.id for row in read.items], read.frame, read.readable) == (["a", "c"], "next", True)
    (row,) = read.unreadable
    assert (row.pointer, row.problem, row.id, row.name, row.cause) == (pointer, problem, row_id, name, None)
    assert (call.unreadable, call.unreadable_count) == ([row], 1)
    assert CANARY not in repr((row, row.pointer))
    assert msgspec.json.decode(read.body) == {"items": [{"id": "a"}, {"id": "c", "unknown": True}], "cursor": "next"}


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
@pytest.mark.parametrize("levels", [1000, 1500, 5000, 50_000])
def test_only_a_row_too_deep_for_the_decoder_is_lost_and_its_name_is_read(levels: int, opening: bytes) -> None:
    deep = b'{"id":"b","before":"]}{[\\"","deep":' + _nested(levels, opening) + b',"alias":"x"}'
    read = _read(_page(b'{"id":"a"}', deep, b'{"id":"c"}'))
    assert ([row.id for row in read.items], read.frame) == (["a", "c"], "next")
    (row,) = read.unreadable
    assert (row.pointer, row.problem, row.id, row.name) == ("#/items/1/deep", "is nested too deeply", "b", "x")


def test_only_a_row_that_is_a_deep_array_is_lost() -> None:
    read = _read(_page(_nested(5000, b"["), b'{"id":"c"}'))
    assert [row.id for row in read.items] == ["c"]
    (row,) = read.unreadable
    assert (row.pointer, row.id, row.name) == ("#/items/0", None, None)


def test_only_the_row_of_a_mapping_bug_is_lost_and_its_line_is_reported() -> None:
    def row(body: bytes) -> Row:
        found = _ROW.decode(body)
        if found.id == "b":
            raise KeyError(CANARY)
        return found

    def whole(body: bytes) -> tuple[str | None, list[Row]]:
        cursor, found = _whole(body)
        return cursor, [row(msgspec.json.encode(each)) for each in found]

    read = _read(_page(b'{"id":"a"}', b'{"id":"b"}'), row=row, whole=whole)
    assert [each.id for each in read.items] == ["a"]
    (bad,) = read.unreadable
    assert (bad.pointer, bad.problem) == ("#/items/1", "could not be read (KeyError)")
    assert (bad.cause or "").startswith("KeyError in row (test_rows.py:")
    assert CANARY not in repr(bad)


def test_a_page_of_unreadable_rows_is_not_readable_and_an_empty_one_is() -> None:
    assert not _read(_page(b"1", b"2")).readable
    assert _read(_page()).readable


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"",
        b"[]",
        b"null",
        b"{}",
        b'{"rows":[]}',
        b'{"items":null}',
        b'{"items":{}}',
        b'{"items":[1],"cursor":7}',
        b'{"items":[{"id":"a"}',
        b'{"items":[{"id":"b\\x"}]}',
        b'{"items":[],"cursor":"\\ud83d"}',
        b'{"items":[],"cursor":' + b"[" * 1500 + b"]" * 1500 + b"}",
        b'{"items":[' + b"[" * 2000 + b"]}",
        b'{"items":[' + b"[" * 2000,
        b"[" * 5000 + b"]" * 5000,
    ],
)
def test_a_page_with_an_invalid_frame_is_refused(body: bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        _read(body)


def test_a_surrogate_pair_is_text() -> None:
    read = _read(_page(b'{"id":"\\ud83d\\ude00 \\\\ud83d"}', b'{"id":"b","more":"\\ud83d"}'))
    assert [row.id for row in read.items] == ["\U0001f600 \\ud83d"]
    assert [row.id for row in read.unreadable] == ["b"]


def test_too_many_rows_are_not_read_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_ROWS", 3)
    assert len(_read(_page(*[b"1"] * 3)).unreadable) == 3
    with pytest.raises(ValueError, match="too many rows"):
        _read(_page(*[b"1"] * 4))


def test_a_page_of_millions_of_tiny_rows_is_not_read_row_by_row() -> None:
    with pytest.raises(ValueError, match="too many rows"):
        _read(b'{"items":[1' + b",1" * 1_000_000 + b"]}")


def test_a_large_page_is_not_searched_for_deep_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_MOST_SCANNED", 4000)
    deep = b'{"id":"b","deep":' + _nested(1000, b"[") + b"}"
    assert len(_read(_page(deep)).unreadable) == 1
    with pytest.raises(RecursionError):
        _read(_page(deep, b'{"id":"' + b"x" * 4000 + b'"}'))


def test_text_with_many_escaped_quotes_is_searched_in_linear_steps() -> None:
    """An unterminated string must not be scanned again from each of its quotes."""
    body = b'{"items":[{"id":"' + b'\\"' * 400_000
    with pytest.raises((ValueError, RecursionError)):
        _read(body)
    assert rows._without_deep_parts(b'"' + b'\\"' * 400_000, 10).count(b"\\") == 400_000


def test_a_call_records_the_first_rows_and_counts_all() -> None:
    call = call_in_time()
    _read(_page(*[b"1"] * 80), call)
    _read(_page(*[b"2"] * 80), call)
    assert (len(call.unreadable), call.unreadable_count) == (100, 160)
    assert call.unreadable[80].pointer == "#/items/0"


@pytest.mark.parametrize(("name", "clear"), [("mine", False), ("other", True), (None, False)])
def test_a_look_up_fails_unless_each_unreadable_row_has_another_name(name: str | None, clear: bool) -> None:
    unreadable = [
        UnreadableRow(("items", 0), "is bad", name="another"),
        UnreadableRow(("items", 1, "x"), "is bad", name=name),
    ]
    if clear:
        require_clear(unreadable, "mine", provider="p", scope="s")
    else:
        with pytest.raises(ProviderBadResponse, match="#/items/1/x is bad") as caught:
            require_clear(unreadable, "mine", provider="p", scope="s")
        assert caught.value.provider == "p"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
_GOOD = st.builds(lambda i, more: {**more, "id": f"good-{i}"}, st.integers(0, 99), st.just({"new": [1]}) | st.just({}))
_ODD = st.fixed_dictionaries({}, optional={"id": _JSON, "alias": _JSON, "inner": _JSON, "many": _JSON}) | _JSON


@given(st.lists(_GOOD | _ODD, max_size=6))
def test_exactly_the_readable_rows_are_returned_in_order(documents: list[Any]) -> None:
    raws = [msgspec.json.encode(document) for document in documents]
    expected, bad = [], []
    for index, raw in enumerate(raws):
        try:
            expected.append(_ROW.decode(raw))
        except msgspec.ValidationError:
            bad.append(index)
    read = _read(_page(*raws))
    assert read.items == expected
    assert [row.path[1] for row in read.unreadable] == bad
    assert msgspec.json.decode(read.body, type=Page).items == expected
