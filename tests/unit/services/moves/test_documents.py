"""Merge patches, differences between creates, and values that may be shown."""

from typing import Any

import pytest

from gateway.domain.moves import Change
from gateway.services.moves.documents import carried, changes, merged, shown

RFC_7396: list[tuple[Any, Any, Any]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]
"""The test cases of the RFC: document, patch and result."""


@pytest.mark.parametrize(("document", "patch", "result"), RFC_7396)
def test_a_merge_patch_has_the_result_of_the_rfc(document: Any, patch: Any, result: Any) -> None:
    assert merged(document, patch) == result


def test_a_patch_leaves_the_document_itself_unchanged() -> None:
    document = {"config": {"resources": {"cpu_cores": 2}}}
    merged(document, {"config": {"resources": {"cpu_cores": 8}}})
    assert document == {"config": {"resources": {"cpu_cores": 2}}}


def test_differences_are_named_at_the_value_that_differs() -> None:
    before = {"description": "a", "config": {"resources": {"cpu_cores": 2}, "ports": [1, 2]}, "gone": 1}
    after = {"description": "a", "config": {"resources": {"cpu_cores": 4}, "ports": [1]}, "new": {"a": 1}}
    assert changes(before, after) == [
        Change(pointer="#/config/resources/cpu_cores", from_=2, to=4),
        Change(pointer="#/config/ports", from_=[1, 2], to=[1]),
        Change(pointer="#/gone", from_=1, to=None),
        Change(pointer="#/new", from_=None, to={"a": 1}),
    ]
    assert carried(before, after) == ["#/description"]


def test_no_secret_is_shown() -> None:
    create = {
        "config": {"runtime_server": {"env": {"PLAIN": "hunter2"}}, "secrets": {"secret_ids": ["id-1"]}},
        "launch": {"proxy": {"host": "proxy.example", "password": "hunter2"}},
        "provider_options": {"proxy": "http://user:hunter2@proxy.example:1", "apiKey": "hunter2", "hasPassword": True},
    }
    assert shown(create) == {
        "config": {"runtime_server": {"env": {"PLAIN": "(secret)"}}, "secrets": {"secret_ids": ["id-1"]}},
        "launch": {"proxy": {"host": "proxy.example", "password": "(secret)"}},
        "provider_options": {"proxy": "http://proxy.example:1", "apiKey": "(secret)", "hasPassword": True},
    }
    assert "hunter2" not in repr(changes({}, create))
    assert "hunter2" not in repr(changes(create, {}))
