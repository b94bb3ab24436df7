"""The demo's providers: which one a create without a provider goes to, and that each supports what it advertises."""

import re
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from io import StringIO
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from gateway.app import create_app, plugins, serving
from gateway.demo import data_plane, demo_settings, start_emulators
from gateway.domain.values import CreateFeature, Feature
from gateway.telemetry.logs import make_logger

KEY: Final = "a-key-of-the-demo-1234"
UUID: Final = "2489e9ad-2ee2-4e00-89ec-32d5f69181c0"


class Demo:
    """The gateway of a demo, with a session that sends its key."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """The status and the decoded response."""
        options = {} if body is None else {"json": body}
        async with self._session.request(method, f"/v1/{path}", **options) as response:
            return response.status, await response.json() if response.status != 204 else None


@pytest.fixture
async def demo(tmp_path: Path) -> AsyncIterator[Demo]:
    async with AsyncExitStack() as stack:
        providers = await start_emulators(stack)
        settings = demo_settings(providers, port=0, api_key=KEY, folder=tmp_path, data=data_plane(0))
        app = create_app(settings, logger=make_logger("info", "json", StringIO()))
        url = (await stack.enter_async_context(serving(settings, app))).api
        session = aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {KEY}"})
        yield Demo(await stack.enter_async_context(session))


@pytest.mark.parametrize("fields", [{}, {"driver": "playwright"}, {"launch": {"mode": "ephemeral"}}])
async def test_browser_without_a_provider_can_be_connected_to(demo: Demo, fields: dict[str, Any]) -> None:
    """12 names: if a hash chose between two providers, one of them would hardly get all by chance."""
    for number in range(12):
        status, made = await demo.call("POST", "runtimes", {"kind": "browser", "name": f"bot-{number}", **fields})
        assert (status, made["provider"]) == (201, "browsers-demo")
    status, connections = await demo.call("POST", f"runtimes/{made['id']}/connections", {})
    assert status == 200
    urls = {item["protocol"]: item["url"] for item in connections["items"]}
    assert re.match(r"ws://127\.0\.0\.1:\d+/cdp/", urls["cdp"])
    assert re.match(r"http://127\.0\.0\.1:\d+/webdriver/", urls["webdriver"])


def test_data_plane_has_the_next_port_or_a_free_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert data_plane(port - 1).listen == "127.0.0.1:0"
    assert data_plane(port - 1).listen == f"127.0.0.1:{port}"
    assert data_plane(65535).listen == data_plane(0).listen == "127.0.0.1:0"


async def test_browser_that_only_one_provider_supports_is_created_there(demo: Demo) -> None:
    launch = {"mode": "profile", "profile_id": UUID}
    status, made = await demo.call("POST", "runtimes", {"kind": "browser", "launch": launch})
    assert (status, made["provider"]) == (201, "bctrl-demo")


def _launch(**fields: Any) -> dict[str, Any]:
    return {"launch": {"mode": "ephemeral", **fields}}


def _proxy(protocol: str) -> dict[str, Any]:
    return _launch(proxy={"type": protocol, "host": "proxy.test", "port": 1080})


CREATES: Final[Mapping[str, dict[str, Any]]] = {
    CreateFeature.LAUNCH_ON_CREATE: {"start": True},
    CreateFeature.CREATE_IDLE: {"start": False},
    CreateFeature.DISPLAY_NAME: {"display_name": "Checkout agent"},
    CreateFeature.DESCRIPTION: {"description": "It checks out."},
    CreateFeature.PROJECT: {"project": "checkout"},
    CreateFeature.LABELS: {"labels": {"team": "shop"}},
    CreateFeature.RUNTIME_LIMIT: {"runtime_limit_seconds": 3600},
    CreateFeature.CONFIG_V2: {"config": {"version": "v2"}},
    CreateFeature.DRIVER_PUPPETEER: {"driver": "puppeteer"},
    CreateFeature.DRIVER_PLAYWRIGHT: {"driver": "playwright"},
    CreateFeature.DRIVER_SELENIUM: {"driver": "selenium"},
    CreateFeature.DRIVER_STAGEHAND: {"driver": "stagehand"},
    CreateFeature.LAUNCH_PROFILE: {"launch": {"mode": "profile", "profile_id": UUID}},
    CreateFeature.LAUNCH_EPHEMERAL: _launch(),
    CreateFeature.EXTENSIONS: _launch(extension_ids=["ext_1"]),
    CreateFeature.HUMANIZE: _launch(humanize=True),
    CreateFeature.HUMANIZE_PERSONA: _launch(humanize_persona_id=3),
    CreateFeature.SOLVE_CAPTCHAS: _launch(solve_captchas=True),
    CreateFeature.PROXY_HTTP: _proxy("http"),
    CreateFeature.PROXY_SOCKS5: _proxy("socks5"),
}
"""The fields of a create that need the feature."""

CALLS: Final[Mapping[str, tuple[str, str, Any]]] = {
    Feature.CONFIG: ("PUT", "config", {"config": {"version": "v2"}}),
    Feature.CAPABILITY_BINDINGS: ("POST", "capabilities", {"name": "web-search"}),
    Feature.START: ("POST", "start", {}),
    Feature.PAUSE: ("POST", "pause", None),
    Feature.STOP: ("POST", "stop", {}),
    Feature.STOP_DISCARDS_STATE: ("POST", "stop", {"discard_state": True}),
    Feature.RESET: ("POST", "reset", None),
    Feature.KEEPALIVE: ("POST", "keepalive", {}),
    Feature.CONNECTIONS: ("POST", "connections", {}),
    Feature.DELETE: ("DELETE", "", None),
}
"""The call that needs the feature, for a running runtime."""


def test_every_feature_has_a_call_that_needs_it() -> None:
    assert CREATES.keys() == {*CreateFeature}
    assert CALLS.keys() == {*Feature}


@pytest.mark.parametrize("name", sorted(plugin.demo.provider for plugin in plugins().values()))
async def test_advertised_features_are_accepted(demo: Demo, name: str) -> None:
    """A create of every kind in ``creates``, one with every feature of creates, and a call for every other feature."""
    _, provider = await demo.call("GET", f"providers/{name}")
    features = provider["features"]
    assert provider["creates"]
    for kind in provider["creates"]:
        status, problem = await demo.call("POST", "runtimes", {"kind": kind, "provider": name, "name": f"a-{kind}"})
        assert (status, problem.get("code")) == (201, None), kind
    (kind,) = provider["creates"]
    for feature in features:
        body = {"kind": kind, "provider": name, "name": f"for-{feature}", **CREATES.get(feature, {})}
        status, runtime = await demo.call("POST", "runtimes", body)
        assert status == 201, (feature, runtime)
        if feature in CALLS:
            if "start" in features:
                await demo.call("POST", f"runtimes/{runtime['id']}/start", {})
            method, path, sent = CALLS[feature]
            if feature == Feature.STOP and Feature.STOP_DISCARDS_STATE in features:
                sent = {"discard_state": True}
            status, response = await demo.call(method, f"runtimes/{runtime['id']}/{path}".rstrip("/"), sent)
            assert status < 300, (feature, response)


@pytest.mark.parametrize("name", sorted(plugin.demo.provider for plugin in plugins().values()))
async def test_features_that_are_not_advertised_are_refused_as_unsupported(demo: Demo, name: str) -> None:
    """Kinds that the provider does not create, and verbs that it does not have."""
    _, provider = await demo.call("GET", f"providers/{name}")
    for kind in {"durable", "browser"} - {*provider["creates"]}:
        status, problem = await demo.call("POST", "runtimes", {"kind": kind, "provider": name})
        assert (status, problem["code"]) == (422, "unsupported_feature")
        assert [error["pointer"] for error in problem["errors"]] == ["#/kind"]
    (kind,) = provider["creates"]
    _, runtime = await demo.call("POST", "runtimes", {"kind": kind, "provider": name})
    for feature in CALLS.keys() - {*provider["features"], Feature.STOP_DISCARDS_STATE}:
        method, path, body = CALLS[feature]
        status, problem = await demo.call(method, f"runtimes/{runtime['id']}/{path}".rstrip("/"), body)
        assert (status, problem["code"]) == (422, "unsupported_feature"), feature
