"""Two bodies have the same digest exactly if they are the same request."""

import json
import random
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.digests import canonical, request_digest, request_document
from gateway.domain.requests import CreateBrowser, CreateDurable, CreateRequest
from gateway.domain.validation import validate

KEY = b"k" * 32

integers = st.integers() | st.integers(min_value=2**53 - 3, max_value=2**53 + 3) | st.just(10**400)
scalars = (
    st.none()
    | st.booleans()
    | integers
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=5)
)
keys = st.text(st.characters(codec="utf-8"), max_size=3)


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=12
    )


documents = nested(scalars)
exact = nested(
    st.none() | st.booleans() | st.integers(1 - 2**53, 2**53 - 1) | st.text(st.characters(codec="utf-8"), max_size=5)
)


def shuffled(value: Any, order: random.Random) -> Any:
    """The same value with shuffled keys, and with whole floats written as integers or the reverse."""
    if isinstance(value, dict):
        items = [(key, shuffled(item, order)) for key, item in value.items()]
        order.shuffle(items)
        return dict(items)
    if isinstance(value, list):
        return [shuffled(item, order) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53:
        return float(value)
    return value


def normal(value: Any) -> Any:
    """A form that Python compares as JSON is compared: true is not 1, and 1 is 1.0."""
    if isinstance(value, dict):
        return {"object": {key: normal(item) for key, item in value.items()}}
    if isinstance(value, list):
        return [normal(item) for item in value]
    return ("boolean", value) if isinstance(value, bool) else value


@settings(max_examples=150, deadline=None)
@given(documents, st.randoms(use_true_random=False))
def test_key_order_and_number_notation_do_not_matter(document: Any, order: random.Random):
    assert canonical(shuffled(document, order)) == canonical(document)


@settings(max_examples=150, deadline=None)
@given(exact)
def test_the_form_is_that_of_rfc_8785(document: Any):
    assert canonical(document) == rfc8785.dumps(document)


def test_every_character_that_json_escapes_is_escaped_as_in_rfc_8785():
    text = "".join(map(chr, range(0x100))) + "\u2028\u2029\ufeff"
    assert canonical({text[:0x80]: text}) == rfc8785.dumps({text[:0x80]: text})


@settings(max_examples=150, deadline=None)
@given(documents, documents)
def test_different_documents_have_different_forms(one: Any, other: Any):
    assert (canonical(one) == canonical(other)) == (normal(one) == normal(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (2**53, 2**53 + 1),
        (2**60, 2**60 + 1),
        (10**400, 10**400 + 1),
        ([2**60 + 1, 2**60], [2**60, 2**60 + 1]),
        ({"a": 2**60 + 1, "b": 2**60}, {"a": 2**60, "b": 2**60 + 1}),
        (10**400, 0),
    ],
)
def test_integers_that_a_double_cannot_represent_are_distinguished(one: Any, other: Any):
    assert canonical(one) != canonical(other)


def test_a_large_integer_equals_its_double():
    assert canonical(10**21) == canonical(1e21) == b"1e+21"


def digest(body: dict[str, Any], key: bytes = KEY, operation: str = "create") -> bytes:
    model: type[CreateRequest] = CreateDurable if body["kind"] == "durable" else CreateBrowser
    return request_digest(operation, request_document(validate(model, body)), key)


def test_default_null_empty_and_absent_are_four_requests():
    base = {"kind": "durable", "name": "n"}
    bodies: list[dict[str, Any]] = [
        base,
        {**base, "if_exists": "return"},
        {**base, "labels": {}},
        {**base, "config": None},
        {**base, "config": {}},
        {**base, "config": {"capabilities": []}},
        {**base, "config": {"version": "v2"}},
        {**base, "config": {"sandbox": {"timeout_seconds": None}}},
        {**base, "config": {"sandbox": {}}},
        {**base, "config": {"resources": {"cpu_cores": 2}}},
        {**base, "project": None},
        {"kind": "durable"},
    ]
    assert len({digest(body) for body in bodies}) == len(bodies)


def test_an_unknown_key_of_a_config_changes_the_digest():
    base = {"kind": "durable", "config": {"later": {"x": 1}}}
    assert digest(base) == digest({"config": {"later": {"x": 1.0}}, "kind": "durable"})
    assert digest(base) != digest({"kind": "durable", "config": {"later": {"x": 2}}})


def test_whole_floats_are_integers():
    one = {"kind": "durable", "runtime_limit_seconds": 3600, "config": {"resources": {"cpu_cores": 2}}}
    other = json.loads(
        '{"config": {"resources": {"cpu_cores": 2.0}}, "runtime_limit_seconds": 3.6e3, "kind": "durable"}'
    )
    assert digest(one) == digest(other)


def browser(password: str | None) -> dict[str, Any]:
    proxy = {"type": "http", "host": "h", "port": 1}
    if password is not None:
        proxy["password"] = password
    return {"kind": "browser", "launch": {"mode": "ephemeral", "proxy": proxy}}


def test_a_password_changes_the_digest_and_needs_the_key_to_be_guessed():
    one = digest(browser("hunter2"))
    assert len({one, digest(browser("hunter3")), digest(browser("")), digest(browser(None))}) == 4
    assert one == digest(browser("hunter2"))
    assert one != digest(browser("hunter2"), key=b"x" * 32)


def test_the_operation_changes_the_digest():
    assert digest({"kind": "durable"}) != digest({"kind": "durable"}, operation="durable.create")


def test_values_that_json_cannot_represent_are_refused():
    for value in (float("nan"), float("inf"), "\ud800"):
        with pytest.raises(ValueError, match=r"representable|codepoints"):
            canonical(value)
