"""The gateway's marks are removed from a provider's JSON, and nothing else changes."""

import pytest

from gateway.ports.redaction import unmarked

WITHIN = ("items", "config", "metadata", "labels")


@pytest.mark.parametrize(
    ("body", "clean"),
    [
        (b'{"config": {"metadata": {"labels": {"m": "x"}}}}', b'{"config":{"metadata":{"labels":{}}}}'),
        (b'{"labels": {"a": 1E1, "m": "x"}, "n" : 1.0}', b'{"labels":{"a":1E1},"n":1.0}'),
        (b'{"items": [{"labels": {"m": 1}}, { "a":1 }]}', b'{"items":[{"labels":{}},{ "a":1 }]}'),
    ],
)
def test_mark_is_removed_where_it_is_sought(body: bytes, clean: bytes) -> None:
    assert unmarked(body, ("m",), WITHIN) == clean


@pytest.mark.parametrize(
    "body",
    [
        b'{ "other": {"m": 1} }',
        b'{ "labels": "m", "config": [1, "m"], "metadata": null }',
        b'{"labels": {"mm": "m"}}',
        b'"m"',
        b'["m"]',
        b"",
    ],
)
def test_json_without_a_mark_is_the_same_bytes(body: bytes) -> None:
    assert unmarked(body, ("m",), WITHIN) is body
