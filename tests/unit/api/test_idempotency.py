"""The ``Idempotency-Key`` of a create, with quotes as in the IETF draft and without, as clients send it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from gateway.api.idempotency import MAX_LENGTH, idempotency_key
from gateway.domain.errors import InvalidRequest


def key_of(*values: str) -> str | None:
    return idempotency_key(CIMultiDict([("idempotency-key", value) for value in values]))


def test_without_the_header_there_is_no_key() -> None:
    assert key_of() is None


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("abc", "abc"),
        ('"abc"', "abc"),
        ("  abc\t", "abc"),
        (' "abc" ', "abc"),
        ('" abc "', " abc "),
        ("a b", "a b"),
        ("8e03978e-40d5-43e8-bc93-6894a57f9324", "8e03978e-40d5-43e8-bc93-6894a57f9324"),
        ('a"b', 'a"b'),
        ('"a\\"b\\\\c"', 'a"b\\c'),
        ("a\\b", "a\\b"),
        ('"a\\\\"', "a\\"),
        ("'abc'", "'abc'"),
        ("x" * MAX_LENGTH, "x" * MAX_LENGTH),
        (f'"{"x" * MAX_LENGTH}"', "x" * MAX_LENGTH),
    ],
)
def test_a_key_is_the_value_with_or_without_quotes(value: str, key: str) -> None:
    assert key_of(value) == key


@pytest.mark.parametrize(
    "value",
    [
        "",
        "   ",
        '""',
        '"',
        '"abc',
        '"abc\\"',
        '"a"b"',
        '"a\\b"',
        "é",
        '"é"',
        "a\tb",
        "a\x7fb",
        "x" * (MAX_LENGTH + 1),
        f'"{"x" * 256}"',
    ],
)
def test_an_invalid_key_is_refused_with_an_error_for_the_header(value: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        key_of(value)
    assert [(fault.header, fault.code) for fault in caught.value.errors] == [("Idempotency-Key", "invalid")]
    assert value.strip() == "" or value not in caught.value.detail


@pytest.mark.parametrize("values", [("a", "a"), ("a", "b")])
def test_several_keys_are_refused(values: tuple[str, ...]) -> None:
    with pytest.raises(InvalidRequest, match="not several"):
        key_of(*values)


_KEYS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=MAX_LENGTH)


@given(key=_KEYS)
def test_every_printable_key_can_be_sent_in_quotes(key: str) -> None:
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    assert key_of(f'"{escaped}"') == key


@given(key=_KEYS.filter(lambda key: key == key.strip() and not key.startswith('"')))
def test_a_key_without_quotes_is_the_same_key(key: str) -> None:
    assert key_of(key) == key
