"""Addresses in headers of a provider: those below its base URL become addresses of the pass-through."""

import pytest
from multidict import CIMultiDict

from gateway.http.native_addresses import NativeAddresses

AT_ROOT = NativeAddresses("/native/p", "http://provider.example:8080")
BELOW = NativeAddresses("/native/p", "https://provider.example/api")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("http://provider.example:8080/v1/items", "/native/p/v1/items"),
        ("HTTP://Provider.Example:8080/v1/items?a=%2F&b=#f", "/native/p/v1/items?a=%2F&b=#f"),
        ("//provider.example:8080/v1", "/native/p/v1"),
        ("http://provider.example:8080", "/native/p"),
        ("/v1/runtimes", "/native/p/v1/runtimes"),
        ("/", "/native/p/"),
        ("b", "/native/p/v1/b"),
        ("../b", "/native/p/b"),
        ("?page=2", "/native/p/v1/a?page=2"),
        ("http://provider.example.:8080/v1/b", "/native/p/v1/b"),
        ("http://provider.example:8080/v1/%62", "/native/p/v1/b"),
    ],
)
def test_address_below_the_base_url_becomes_one_of_the_gateway(value: str, expected: str) -> None:
    assert AT_ROOT.address(value, "/v1/a?page=1") == expected


@pytest.mark.parametrize(
    "value",
    [
        "http://other.example:8080/v1",
        "http://provider.example/v1",
        "https://provider.example:8080/v1",
        "http://user@provider.example:8080/v1",
        "//other.example/v1",
        "mailto:a@provider.example",
        "http://provider.example:port/",
        "http://[",
        "",
        "#part",
        "/a\\b",
        "/a b",
        "http://provider.example:8080/v1/../../x",
        "http://provider.example:8080/v1/%2e%2E/x",
    ],
)
def test_other_and_ambiguous_addresses_are_unchanged(value: str) -> None:
    assert AT_ROOT.address(value, "/v1/a") == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/api/x", "/native/p/x"),
        ("/%61pi/x", "/native/p/x"),
        ("https://provider.example:443/api/x", "/native/p/x"),
        ("https://provider.example/api", "/native/p"),
        ("https://provider.example/apis", "https://provider.example/apis"),
        ("https://provider.example/login", "https://provider.example/login"),
        ("/login?next=/api", "https://provider.example/login?next=/api"),
        ("/v1/runtimes", "https://provider.example/v1/runtimes"),
        ("../../login", "https://provider.example/login"),
        ("/api/%2e%2e/x", "https://provider.example/api/%2e%2e/x"),
    ],
)
def test_relative_address_outside_of_the_base_url_becomes_absolute(value: str, expected: str) -> None:
    assert BELOW.address(value, "/v1/a") == expected


def test_all_three_headers_are_rewritten_and_others_are_not() -> None:
    own, other = "https://provider.example/api/x", "https://other.example/x"
    headers = CIMultiDict(
        [
            ("Location", own),
            ("content-location", "/api/x"),
            ("Link", f'<{own}?page=2>; rel="next"; title="<{own}>, \\"<{own}>", <{other}>; rel=prev,</api/y>'),
            ("Link", f"<{own}>"),
            ("X-Location", own),
        ]
    )
    BELOW.rewrite(headers, "/a")
    assert headers["Location"] == headers["Content-Location"] == "/native/p/x"
    assert headers.getall("Link") == [
        f'</native/p/x?page=2>; rel="next"; title="<{own}>, \\"<{own}>", <{other}>; rel=prev,</native/p/y>',
        "</native/p/x>",
    ]
    assert headers["X-Location"] == own


@pytest.mark.parametrize(
    ("base_url", "value"),
    [
        ("http://127.0.0.1:8080", "http://localhost:8080/x"),
        ("http://127.0.0.1:8080", "http://127.1:8080/x"),
        ("http://[::1]:8080", "http://[0:0:0:0:0:0:0:1]:8080/x"),
        ("http://localhost", "http://[::ffff:7f00:1]:80/x"),
    ],
)
def test_address_with_another_spelling_of_the_host_becomes_one_of_the_gateway(base_url: str, value: str) -> None:
    assert NativeAddresses("/native/p", base_url).address(value, "/v1/a") == "/native/p/x"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("5; url=https://provider.example/api/x", "5; url=/native/p/x"),
        ("0;URL='/api/x'", "0;URL='/native/p/x'"),
        ('1.5, "b"', '1.5, "/native/p/v1/b"'),
        ("3; /login", "3; https://provider.example/login"),
        ("5", "5"),
        ("0; url=https://other.example/", "0; url=https://other.example/"),
    ],
)
def test_refresh_below_the_base_url_leads_to_the_gateway(value: str, expected: str) -> None:
    headers = CIMultiDict({"Refresh": value})
    BELOW.rewrite(headers, "/v1/a")
    assert headers["Refresh"] == expected
