"""Which headers are forwarded, for every spelling of their names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from gateway.http.headers import PASSES_TO_CALLER, PASSES_TO_PROVIDER, HeaderRule, to_caller, to_provider

DROPPED_TO_PROVIDER = (
    "Authorization",
    "X-API-Key",
    "API-Key",
    "X-Auth-Token",
    "Cookie",
    "Cookie2",
    "Proxy-Authorization",
    "Proxy-Connection",
    "Connection",
    "Keep-Alive",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
    "HTTP2-Settings",
    "Host",
    "Expect",
    "X-Request-ID",
    "Traceparent",
    "Forwarded",
    "Via",
    "X-Real-IP",
    "Client-IP",
    "True-Client-IP",
    "CF-Connecting-IP",
    "X-Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-Anything-New",
    "X-Original-URL",
    "X-Original-Method",
    "X-Envoy-Original-Path",
    "X-Envoy-Decorator-Operation",
    "X-Rewrite-URL",
    "X-HTTP-Method",
    "X-HTTP-Path",
    "X-HTTP-DestinationURL",
    "X-Middleware-Subrequest",
    "X-Middleware-Rewrite",
    "X-Matched-Path",
    "X-Invoke-Path",
    "X-Host",
    "X-HTTP-Method-Override",
    "X-Method-Override",
    "Override-Method",
    "X-Host-Override",
    "X-Override-URL",
    "Remote-User",
    "Remote-Groups",
    "X-Remote-User",
    "X-Remote-Extra-Scopes",
    "X-Auth-Request-Email",
    "X-Authenticated-User",
    "X-Forward-For",
    "X-Envoy",
    "X-Originating-IP",
    "Proxy",
    "X-ProxyUser-IP",
    "Remote",
    "RemoteUser",
    "X-WebAuth-User",
    "X-Goog-Authenticated-User-Email",
    "X-Amzn-Oidc-Data",
    "X-MS-Client-Principal",
    "CF-Access-Jwt-Assertion",
    "Client-Cert",
    "SSL-Client-Verify",
    "X-SSL-Client-Cert",
)

PASSED_TO_PROVIDER = (
    "Accept",
    "Accept-Encoding",
    "BCTRL-Version",
    "Content-Length",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "Origin",
    "Sec-WebSocket-Key",
    "Tracestate",
    "User-Agent",
    "X-Dreadnode-Network",
    "X-End-2",
)

DROPPED_TO_CALLER = (
    "X-Accel-Redirect",
    "X-Sendfile",
    "X-Lighttpd-Send-File",
    "X-LiteSpeed-Location",
    "Set-Cookie",
    "Set-Cookie2",
    "Strict-Transport-Security",
    "Alt-Svc",
    "Clear-Site-Data",
    "Connection",
    "Proxy-Authenticate",
    "Transfer-Encoding",
    "Server",
    "X-Request-ID",
)

PASSED_TO_CALLER = ("Content-Type", "Location", "ETag", "Proxy-Status", "Retry-After", "X-Stays", "WWW-Authenticate")


def spelled(name: str) -> st.SearchStrategy[str]:
    """Spellings of a name: letters in either case, hyphens as hyphens or underscores."""
    letters = [st.sampled_from("-_") if c == "-" else st.sampled_from(sorted({c.lower(), c.upper()})) for c in name]
    return st.tuples(*letters).map("".join)


@pytest.mark.parametrize("name", DROPPED_TO_PROVIDER)
def test_a_listed_name_is_dropped_towards_the_provider_also_with_underscores(name: str) -> None:
    for spelling in (name, name.upper(), name.replace("-", "_"), name.replace("-", "_", 1), name + "_", f"-{name}-"):
        assert not PASSES_TO_PROVIDER[spelling]


@pytest.mark.parametrize("name", PASSED_TO_PROVIDER)
def test_other_names_pass_towards_the_provider_in_either_case(name: str) -> None:
    assert PASSES_TO_PROVIDER[name]
    assert PASSES_TO_PROVIDER[name.lower()]
    assert PASSES_TO_PROVIDER[name.upper()]


@pytest.mark.parametrize("name", DROPPED_TO_CALLER)
def test_a_listed_name_is_dropped_towards_the_caller_also_with_underscores(name: str) -> None:
    for spelling in (name, name.lower(), name.replace("-", "_"), name + "_"):
        assert not PASSES_TO_CALLER[spelling]


@pytest.mark.parametrize("name", PASSED_TO_CALLER)
def test_other_names_pass_towards_the_caller(name: str) -> None:
    assert PASSES_TO_CALLER[name]
    assert PASSES_TO_CALLER[name.lower()]


@pytest.mark.parametrize("name", ["X_End", "X.HTTP.Method.Override", "X End", "X-End!", "X-\u00e4", "", "x-end\n"])
def test_a_name_with_other_characters_than_letters_digits_and_hyphens_is_dropped_both_ways(name: str) -> None:
    assert not PASSES_TO_PROVIDER[name]
    assert not PASSES_TO_CALLER[name]


@given(st.sampled_from(DROPPED_TO_PROVIDER).flatmap(spelled))
def test_no_spelling_of_a_listed_name_passes_to_the_provider(name: str) -> None:
    assert not PASSES_TO_PROVIDER[name]


@given(st.sampled_from(PASSED_TO_PROVIDER).flatmap(spelled))
def test_another_name_passes_only_without_underscores(name: str) -> None:
    assert PASSES_TO_PROVIDER[name] is ("_" not in name)


@given(st.sampled_from(DROPPED_TO_CALLER).flatmap(spelled))
def test_no_spelling_of_a_listed_name_passes_to_the_caller(name: str) -> None:
    assert not PASSES_TO_CALLER[name]


def test_a_rule_caches_a_bounded_number_of_names_of_bounded_length() -> None:
    rule = HeaderRule(frozenset({"dropped"}), ("x-family-",))
    for _ in range(2):
        for number in range(3000):
            assert rule[f"X-End-{number}"]
            assert not rule[f"X-Family-{number}"]
    rest = "x" * 100
    assert rule[f"X-End-{rest}"]
    assert not rule[f"X-Family-{rest}"]
    assert not rule[f"X_{rest}"]
    assert len(rule) <= 1024
    assert max(map(len, rule)) <= 64


@given(spelled("X-Hop-By-Hop"), spelled("X-Hop-By-Hop"))
def test_a_header_named_by_connection_is_dropped_in_every_spelling(named: str, sent: str) -> None:
    headers = CIMultiDict({"Connection": f"keep-alive, {named}", sent: "1", "X-End": "2"})
    assert dict(to_provider(headers, websocket=False, traced=True)) == {"X-End": "2"}
    assert dict(to_caller(headers, str)) == {"X-End": "2", "Content-Security-Policy": "sandbox"}


@given(spelled("X-Provider-Token"), spelled("X-Provider-Token"))
def test_a_header_named_like_the_providers_credentials_is_dropped_in_every_spelling(own: str, sent: str) -> None:
    headers = CIMultiDict({sent: "of-the-caller", "X-End": "2"})
    passed = to_provider(headers, websocket=False, traced=True, credentials=frozenset({own, "Authorization"}))
    assert dict(passed) == {"X-End": "2"}


def test_pages_of_the_provider_are_sandboxed_beside_its_own_policy() -> None:
    headers = CIMultiDict({"Content-Security-Policy": "default-src 'self'"})
    assert to_caller(headers, str).getall("Content-Security-Policy") == ["default-src 'self'", "sandbox"]


@pytest.mark.parametrize(
    "name", ["Access-Control-Allow-Origin", "access-control-expose-headers", "Service-Worker-Allowed"]
)
def test_permissions_of_the_provider_for_web_pages_are_dropped(name: str) -> None:
    assert list(to_caller(CIMultiDict({name: "*"}), str)) == ["Content-Security-Policy"]
