"""The references in the provider's own members of the browser API."""

from typing import Any

import pytest

from adapters.bctrl_browsers.options import refused_members
from gateway.settings.allow import AllowSettings

ALLOWED = AllowSettings.model_validate(
    {
        "proxy": {"hosts": ["good.example", "10.0.0.1"]},
        "extension_ids": ["e"],
        "profile_ids": ["br_1"],
        "max_lifetime": 60,
    }
).allowance


@pytest.mark.parametrize(
    "proxy",
    [
        None,
        "http://good.example:80",
        "socks5://user:p%40ss@GOOD.example.:1080/",
        {"host": "good.example", "port": 1, "protocol": "http", "type": "custom"},
        {"url": "http://10.0.0.1:1"},
    ],
)
def test_proxy_of_a_listed_host_is_allowed(proxy: Any) -> None:
    assert list(refused_members({"proxy": proxy}, ALLOWED)) == []


@pytest.mark.parametrize(
    "proxy",
    [
        "http://evil.example:80",
        "http://evil.example:80\\@good.example:80",
        "http://evil.example:80/@good.example:80",
        "http://evil.example:80#@good.example:80",
        "http://evil.example:80?@good.example:80",
        "http://good.example:80@evil.example:80",
        "http://a@b@good.example:80",
        "http://evil.example\t:80@good.example:80",
        "http:good.example:80",
        "HTTP://good.example:80",
        "",
        {"id": "saved"},
        {"id": "saved", "host": "good.example"},
        {"pool": "p", "host": "good.example"},
        {"type": "managed-rotating"},
        {"type": "managed-rotating", "host": "good.example"},
        {"host": "good.example", "url": "http://evil.example:80"},
        {"host": ["good.example"]},
        {"url": 1},
        {},
        [],
        7,
    ],
)
def test_any_other_proxy_is_refused(proxy: Any) -> None:
    assert [fault.pointer for fault in refused_members({"proxy": proxy}, ALLOWED, "provider_options")] == [
        "#/provider_options/proxy"
    ]


def test_extensions_copies_and_time_limits_are_refused_beyond_the_constraints() -> None:
    allowed = {"extensions": ["e"], "fromBrowser": "br_1", "timeoutSeconds": 60, "metadata": {"extensions": ["x"]}}
    assert list(refused_members(allowed, ALLOWED)) == []
    body = {"extensions": ["e", "x", 3], "fromBrowser": "br_2", "timeoutSeconds": 60.5}
    assert [fault.pointer for fault in refused_members(body, ALLOWED)] == [
        "#/extensions/1",
        "#/extensions/2",
        "#/fromBrowser",
        "#/timeoutSeconds",
    ]
    assert list(refused_members({"extensions": "x", "timeoutSeconds": None}, ALLOWED)) == []
