"""The JSON Schema of the settings: it accepts what the gateway accepts, and the repository has its current version."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from ruamel.yaml import YAML

from adapters.registry import discover
from gateway.settings.schema import settings_schema

CONFIG = Path(__file__).parents[3] / "config"
SCHEMA = settings_schema({api: plugin.settings for api, plugin in discover().items()})
EXAMPLE = json.loads(json.dumps(YAML(typ="safe", pure=True).load(CONFIG / "gateway.example.yaml"), default=str))
"""As an editor reads it: a date is text."""


def _accepts(document: Any) -> bool:
    return jsonschema_rs.validator_for(SCHEMA).is_valid(document)


def test_the_schema_in_the_repository_is_current_and_the_example_names_it() -> None:
    """``make docs`` writes it."""
    assert json.loads((CONFIG / "gateway.schema.json").read_text(encoding="utf-8")) == SCHEMA
    first = (CONFIG / "gateway.example.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=gateway.schema.json"


def test_the_schema_accepts_the_example() -> None:
    assert [error.message for error in jsonschema_rs.validator_for(SCHEMA).iter_errors(EXAMPLE)] == []


def _changed(path: str, value: Any) -> Any:
    document = copy.deepcopy(EXAMPLE)
    *parents, last = path.split(".")
    section = document
    for name in parents:
        section = section[name]
    section[last] = value
    return document


@pytest.mark.parametrize(
    ("path", "value", "accepted"),
    [
        ("version", 2, False),
        ("htp", {}, False),
        ("http", None, True),
        ("http.listne", "127.0.0.1:1", False),
        ("http.max_body_bytes", 1, False),
        ("http.max_body_bytes", "${BYTES}", True),
        ("http.max_body_bytes", "lots", False),
        ("log.level", "loud", False),
        ("log.level", "${LEVEL:-info}", True),
        ("auth", "none", True),
        ("auth", "nothing", False),
        ("providers", {}, False),
        ("providers.durable-main.api", "durabel", False),
        ("providers.durable-main.name", "x", False),
        ("providers.Durable", {}, False),
    ],
)
def test_the_schema_checks_names_and_values(path: str, value: Any, accepted: bool) -> None:
    assert _accepts(_changed(path, value)) == accepted


@pytest.mark.parametrize("missing", ["version", "auth", "providers"])
def test_the_schema_requires_what_the_gateway_requires(missing: str) -> None:
    assert not _accepts({name: value for name, value in EXAMPLE.items() if name != missing})
