"""The references in a create, and what they are replaced with."""

from typing import Any

from gateway.services.moves.references import references


def replaced(create: dict[str, Any], by: dict[str, str]) -> dict[str, Any]:
    for reference in list(references(create)):
        if reference.value in by:
            reference.replace(by[reference.value])
    return create


def test_every_reference_of_a_create_is_found() -> None:
    create = {
        "project": "shop",
        "config": {
            "secrets": {"secret_ids": ["s-1"]},
            "capabilities": [{"name": "search"}],
            "defaults": {"capability": "search"},
            "build": {"source": {"kind": "template", "ref": "t-1"}},
        },
        "launch": {"profile_id": "p-1", "extension_ids": ["e-1"]},
        "provider_options": {"extensions": ["e-2"]},
    }
    assert sorted((each.kind, each.value) for each in references(create)) == [
        ("build_sources", "template/t-1"),
        ("capabilities", "search"),
        ("capabilities", "search"),
        ("extension_ids", "e-1"),
        ("extension_ids", "e-2"),
        ("profile_ids", "p-1"),
        ("projects", "shop"),
        ("secret_ids", "s-1"),
    ]


def test_a_built_in_source_and_empty_members_are_no_references() -> None:
    create = {"config": {"build": {"source": {"kind": "builtin", "ref": "runtime"}}, "secrets": {}}, "launch": None}
    assert list(references(create)) == []


def test_references_are_replaced_in_place_and_may_swap() -> None:
    create = {"config": {"secrets": {"secret_ids": ["a", "b", "c"]}, "build": {"source": {"kind": "t", "ref": "1"}}}}
    assert replaced(create, {"a": "b", "b": "a", "t/1": "t/2"}) == {
        "config": {"secrets": {"secret_ids": ["b", "a", "c"]}, "build": {"source": {"kind": "t", "ref": "2"}}}
    }


def test_a_reference_that_is_mapped_to_nothing_is_left_out() -> None:
    create = {
        "project": "shop",
        "config": {
            "secrets": {"secret_ids": ["a", "b", "c"]},
            "capabilities": [{"name": "search"}, {"name": "other"}],
            "build": {"source": {"kind": "t", "ref": "1"}},
        },
    }
    assert replaced(create, {"a": "", "c": "", "shop": "", "search": "", "t/1": ""}) == {
        "config": {"secrets": {"secret_ids": ["b"]}, "capabilities": [{"name": "other"}], "build": {}}
    }
