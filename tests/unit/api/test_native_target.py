"""The target of a request under /native stays below the base URL, in one spelling, or is refused."""

import posixpath
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from gateway.api.native import parse_target
from gateway.domain.errors import InvalidRequest, NotFound

BASE = "http://provider.example/base/v1"

pieces = st.sampled_from(
    [
        "/",
        "//",
        ".",
        "..",
        "%2e",
        "%2E",
        "%2f",
        "%5c",
        "\\",
        ";",
        "%3b",
        "a",
        "%20",
        "%00",
        "%25",
        "2e",
        "?",
        "#",
        "@evil",
        ":80",
        "%",
        "é",
        "%c3%a9",
        "%c0%ae",
        "..;",
        "http://",
        "~",
        "*",
        "&",
        "=",
    ]
)
dubious_paths = st.lists(pieces, max_size=8).map("".join)


@given(dubious_paths | st.text(max_size=20))
@example("/%2e%2e/%2e%2e/admin")
@example("/..%252f..")
@example("//evil.example")
@example("@evil.example/")
def test_an_arbitrary_path_stays_below_the_base_url_or_is_refused(path: str) -> None:
    try:
        target = parse_target(f"/native/p{path}")
    except (NotFound, InvalidRequest):
        return
    url = URL(BASE + target.path + target.query, encoded=True)
    assert (url.scheme, url.host, url.port, url.user) == ("http", "provider.example", 80, None)
    assert url.raw_path == "/base/v1" + target.path
    assert f"/native/p{path}".startswith(f"/native/{target.provider}{target.path}")
    for form in (target.path, unquote(target.path), unquote(target.path).replace("\\", "/")):
        assert posixpath.normpath("/base/v1" + form) == ("/base/v1" + form).rstrip("/")
    assert [unquote(part) for part in target.path.split("/")[1:]] == list(target.segments)


safe = st.text(st.sampled_from("abcXYZ019-_~!$&'()*+,=:@"), min_size=1, max_size=8)


@given(st.lists(safe, min_size=1, max_size=5), st.booleans(), st.text(st.sampled_from("abc=&;/?%[]{}|\\^"), max_size=9))
def test_a_plain_path_is_not_changed(segments: list[str], slash: bool, query: str) -> None:
    path = "/" + "/".join(segments) + "/" * slash
    target = parse_target(f"/native/a-provider{path}?{query}")
    assert (target.provider, target.path, target.query) == ("a-provider", path, f"?{query}")
    assert list(target.segments) == segments + [""] * slash


@pytest.mark.parametrize(
    "raw", ["/native", "/native/", "/native/?a", "/native/A/x", "/native/p.q", "/nativ%65/p/x", "*"]
)
def test_a_path_without_a_provider_is_refused(raw: str) -> None:
    with pytest.raises((NotFound, InvalidRequest)):
        parse_target(raw)


def test_the_refusal_names_the_fault() -> None:
    for raw, text in (
        ("http://x/native/p/a", "whole URL"),
        ("/native/p/a;b", "percent-encoded"),
        ("/native/p/a//b", "empty segment"),
        ("/native/p/%2e%2e", "segment of dots"),
        ("/native/p/%2f", "encoded slash"),
        ("/native/p/%ff", "not UTF-8"),
        ("/native/p/a?\x7f", "query"),
    ):
        with pytest.raises(InvalidRequest, match=text):
            parse_target(raw)
