import pytest

from adapters.bctrl_browsers.options import check_options
from gateway.domain.errors import ValidationFailed
from tests.unit.adapters.bctrl_browsers.fakes import create

ALL = {
    "audit": {"files": "full"},
    "autoUpgrade": False,
    "captcha": {"autoSolve": True},
    "expireAfterIdleDays": 3,
    "extensions": ["ext_1"],
    "forceOpenShadowRoots": True,
    "fromBrowser": "br_1",
    "gpu": True,
    "headless": True,
    "location": "us-east",
    "metadata": {"n": 1, "deep": {"a": [None]}},
    "networkTraffic": {"blockAds": True, "blockResourceTypes": ["media"], "saver": "high", "urlAllowlist": ["*"]},
    "persona": "new",
    "proxy": {"id": "px_1", "pool": "pool1", "country": "de"},
    "recording": True,
    "standbyAfterSeconds": 0,
    "stealth": "best",
    "timeoutSeconds": 60,
    "viewport": {"width": 800, "height": 600},
    "webRtcProxyOnly": True,
}


def _refused(options: dict, **members: object) -> tuple[list[str | None], list[str]]:
    with pytest.raises(ValidationFailed) as caught:
        check_options(create(provider_options=options, **members))
    return [error.pointer for error in caught.value.errors], [error.code for error in caught.value.errors]


def test_every_field_of_the_native_create_is_accepted():
    check_options(create(provider_options=ALL))
    check_options(create())


@pytest.mark.parametrize("name", ["name", "spaceId", "auto_upgrade", "wait", "profileId"])
def test_unknown_option_is_refused_at_its_pointer(name):
    assert _refused({name: "x", "gpu": True}) == ([f"#/provider_options/{name}"], ["unknown_field"])


@pytest.mark.parametrize(
    ("options", "pointer"),
    [
        ({"gpu": "yes"}, "gpu"),
        ({"stealth": "ultra"}, "stealth"),
        ({"extensions": ["a", 1]}, "extensions/1"),
        ({"viewport": {"width": 800}}, "viewport/height"),
        ({"viewport": {"width": 0, "height": 1}}, "viewport/width"),
        ({"viewport": None}, "viewport"),
        ({"networkTraffic": {"blockResourceTypes": ["video"]}}, "networkTraffic/blockResourceTypes/0"),
        ({"networkTraffic": {"blockPopups": True}}, "networkTraffic/blockPopups"),
        ({"timeoutSeconds": 1.5}, "timeoutSeconds"),
        ({"standbyAfterSeconds": float("nan")}, "standbyAfterSeconds"),
        ({"audit": {"files": "some"}}, "audit/files"),
        ({"proxy": {"host": "p", "port": 80}}, "proxy/protocol"),
        ({"proxy": {"host": "p", "port": 0, "protocol": "http"}}, "proxy/port"),
        ({"proxy": {"id": "px_1", "speed": "high"}}, "proxy/speed"),
        ({"proxy": {"type": "managed-static"}}, "proxy/type"),
        ({"proxy": {}}, "proxy"),
        ({"proxy": 7}, "proxy"),
        ({"proxy": "proxy.test:80"}, "proxy"),
        ({"proxy": "http://proxy.test:port"}, "proxy"),
        ({"proxy": {"url": "ftp://proxy.test:80"}}, "proxy/url"),
    ],
)
def test_invalid_value_is_refused_at_its_pointer(options, pointer):
    assert _refused(options)[0] == [f"#/provider_options/{pointer}"]


def test_copy_without_a_persona_is_refused():
    assert _refused({"fromBrowser": "br_1"})[0] == ["#/provider_options"]


@pytest.mark.parametrize(
    "proxy",
    [
        None,
        "http://proxy.test:80",
        "socks5://[::1]:1080",
        {"url": "http://proxy.test:80", "username": "u", "dnsResolution": "proxy"},
        {"host": "p", "port": 1.0, "protocol": "socks5", "type": "custom", "udpMode": "auto"},
        {"id": "px_1"},
        {"type": "managed-rotating", "pool": "pool2", "device": "mobile", "stickyKey": "s"},
    ],
)
def test_every_form_of_a_proxy_without_credentials_is_accepted(proxy):
    check_options(create(provider_options={"proxy": proxy}))


@pytest.mark.parametrize(
    ("proxy", "pointer"),
    [
        ("http://u:hunter2@proxy.test:80", "proxy"),
        ({"url": "http://u:hunter2@proxy.test:80"}, "proxy/url"),
        ({"url": "http://proxy.test:80", "password": "hunter2"}, "proxy/password"),
        ({"host": "p", "port": 80, "protocol": "http", "password": "hunter2"}, "proxy/password"),
    ],
)
def test_credentials_of_a_proxy_are_refused_outside_launch(proxy, pointer):
    with pytest.raises(ValidationFailed) as caught:
        check_options(create(provider_options={"proxy": proxy}))
    assert [(error.pointer, error.code) for error in caught.value.errors] == [
        (f"#/provider_options/{pointer}", "secret")
    ]
    assert "hunter2" not in repr(caught.value) + repr(caught.value.__cause__) + repr(vars(caught.value))


def test_value_in_an_option_and_a_field_is_refused():
    launch = {"mode": "ephemeral", "extension_ids": [], "solve_captchas": True, "proxy": None}
    options = {"extensions": ["a"], "captcha": {}, "proxy": None, "metadata": {}, "gpu": True}
    pointers, codes = _refused(options, labels={"a": "b"}, launch=launch)
    assert pointers == [f"#/provider_options/{name}" for name in ("metadata", "extensions", "captcha", "proxy")]
    assert set(codes) == {"given_twice"}


def test_option_is_accepted_if_the_launch_does_not_have_it():
    check_options(create(launch={"mode": "ephemeral"}, provider_options=ALL))
