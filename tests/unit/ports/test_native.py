"""The rules of the pass-through."""

import pytest
from pydantic import ValidationError

from gateway.ports.native import NativeSettings, Rules


@pytest.mark.parametrize(
    ("rule", "method", "path", "allowed"),
    [
        ("GET /**", "GET", "/", True),
        ("GET /**", "GET", "/a/b/c", True),
        ("GET /**", "HEAD", "/a", False),
        ("GET /**", "get", "/a", False),
        ("GET /a", "GET", "/a", True),
        ("GET /a", "GET", "/a/", True),
        ("GET /a/", "GET", "/a", True),
        ("GET /a", "GET", "/a/b", False),
        ("GET /a", "GET", "/A", False),
        ("GET /a/*", "GET", "/a/b", True),
        ("GET /a/*", "GET", "/a", False),
        ("GET /a/*", "GET", "/a/b/c", False),
        ("GET /a/*/c", "GET", "/a/b/c", True),
        ("GET /a/**", "GET", "/a", True),
        ("GET /a/**", "GET", "/a/b/c", True),
        ("GET /a/**", "GET", "/ab", False),
        ("* /a", "DELETE", "/a", True),
        ("* /a", "WEBSOCKET", "/a", True),
        ("* /**", "TRACE", "/a", False),
        ("* /**", "CONNECT", "/a", False),
        ("WEBSOCKET /a", "WEBSOCKET", "/a", True),
        ("WEBSOCKET /a", "GET", "/a", False),
        ("GET /", "GET", "/", True),
        ("GET /", "GET", "", True),
        ("GET /", "GET", "/a", False),
    ],
)
def test_a_rule_covers(rule: str, method: str, path: str, allowed: bool) -> None:
    segments = path[1:].split("/") if path else []
    assert Rules([rule]).allow(method, segments) is allowed


def test_nothing_passes_without_a_rule_and_any_one_of_several_suffices() -> None:
    assert not Rules([]).allow("GET", ["a"])
    assert Rules(["GET /a", "POST /b", "GET /b"]).allow("GET", ["b"])


def test_only_reads_pass_by_default() -> None:
    rules = Rules(NativeSettings().allow)
    passing = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WEBSOCKET"]
    assert [method for method in passing if rules.allow(method, ["a", "b"])] == ["GET", "HEAD"]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("/a", "METHOD /path"),
        ("GET", "METHOD /path"),
        ("GET a", "METHOD /path"),
        ("get /a", "METHOD /path"),
        ("GET  /a", "METHOD /path"),
        ("GET /a b", "METHOD /path"),
        ("GET /é", "METHOD /path"),
        ("TRACE /a", "never forwarded"),
        ("GET /a%20b", "percent-encoding"),
        ("GET /a?b", "no query"),
        ("GET /a//b", "empty segment"),
        ("GET /../b", "no .."),
        ("GET /a*", "whole segment"),
        ("GET /**/a", "any rest at the end"),
    ],
)
def test_an_invalid_rule_is_refused_with_the_reason(rule: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        NativeSettings.model_validate({"allow": ["GET /fine", rule]})
