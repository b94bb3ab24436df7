"""JSON bodies, decoded strictly."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import InvalidRequest, ValidationFailed
from gateway.domain.json_numbers import MAX_SLOW_NUMBERS
from gateway.http.bodies import MAX_DEPTH, decode, parse_create

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
CREATE_FIELDS = st.sampled_from(
    ["kind", "name", "provider", "labels", "start", "config", "launch", "driver", "project", "runtime_limit_seconds"]
)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_decoded_or_refused(raw: bytes) -> None:
    try:
        decoded = decode(raw)
    except InvalidRequest:
        return
    assert decoded == json.loads(raw)


@given(JSON)
def test_valid_json_is_decoded(value: Any) -> None:
    assert decode(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b'{"a":1,}',
        b"NaN",
        b'{"a":Infinity}',
        b"1e400",
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\\ud800"',
        b"\xef\xbb\xbf{}",
        b"{} {}",
        b"9" * 5000,
        b"9" * 309,
    ],
)
def test_almost_valid_json_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest, match="not valid JSON"):
        decode(raw)


@pytest.mark.parametrize("number", [b"1e308", b"-1.5E-320", b"1e+100"])
def test_numbers_that_take_long_to_decode_are_bounded(number: bytes) -> None:
    """A body of 1 MiB of them took seconds."""
    numbers = b"[" + b", ".join([number] * MAX_SLOW_NUMBERS) + b"]"
    assert len(decode(numbers)) == MAX_SLOW_NUMBERS
    with pytest.raises(InvalidRequest, match="exponents"):
        decode(b"[" + b",".join([numbers, number, b"0"]) + b"]")


@pytest.mark.parametrize("raw", [b'{"a":1,"a":1}', b'{"b":[{"a":1,"\\u0061":2}]}'])
def test_a_duplicate_member_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest, match="more than once"):
        decode(raw)


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 100_000])
def test_deep_nesting_is_refused_before_it_is_parsed(levels: int) -> None:
    with pytest.raises(InvalidRequest, match="nested deeper"):
        decode(b"[" * levels + b"]" * levels)


def test_many_brackets_side_by_side_and_in_strings_are_not_deep() -> None:
    value = {"list": [[] for _ in range(200)], "text": '\\"[[{{' * 200}
    assert decode(json.dumps(value).encode()) == value


def test_the_deepest_allowed_nesting_is_accepted() -> None:
    assert decode(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)


def refusal(body: dict[str, Any]) -> ValidationFailed | None:
    try:
        parse_create(body)
    except ValidationFailed as error:
        return error
    return None


@given(st.dictionaries(CREATE_FIELDS | st.text(max_size=5), JSON, max_size=6))
def test_an_arbitrary_object_is_a_create_or_refused_with_faults(body: dict[str, Any]) -> None:
    error = refusal(body)
    assert error is not None or body["kind"] in {"durable", "browser"}
    assert error is None or all(fault.pointer and fault.pointer.startswith("#/") for fault in error.errors)


@given(st.sampled_from(["durable", "browser"]), st.dictionaries(CREATE_FIELDS, JSON, max_size=6))
def test_an_arbitrary_create_of_a_known_kind_is_accepted_or_refused_with_faults(
    kind: str, rest: dict[str, Any]
) -> None:
    error = refusal({**rest, "kind": kind})
    assert error is None or error.errors


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "required"),
        ({"kind": None}, "not_allowed"),
        ({"kind": "desktop"}, "not_allowed"),
        ({"kind": "spreadsheet"}, "not_allowed"),
        ({"kind": "Durable"}, "not_allowed"),
        ({"kind": ["durable"]}, "not_allowed"),
    ],
)
def test_an_unknown_kind_is_refused_with_the_known_ones(body: dict[str, Any], code: str) -> None:
    with pytest.raises(ValidationFailed, match="durable, browser") as caught:
        parse_create(body)
    (fault,) = caught.value.errors
    assert (fault.pointer, fault.code) == ("#/kind", code)
