"""Callers with ``view: public`` and callers with tokens, through the data plane."""

from typing import Any

import aiohttp
import pytest

from tests.component.dataplane.conftest import DATA, started
from tests.issuer import Issuer

WEB = "key-of-the-frontend-1"
PRINCIPALS = {"web": {"keys": [WEB], "view": "public"}, "tenant": {"keys": ["key-of-the-template"], "own_only": True}}


@pytest.mark.parametrize("end", ["revoke", "stop"])
async def test_connection_by_a_public_id_ends_as_any_other(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    async with started(monkeypatch, principals=PRINCIPALS) as plane, aiohttp.ClientSession() as client:
        gateway = plane.gateway

        async def call(method: str, path: str, body: Any = None) -> Any:
            answer = await gateway.call(method, path, body, Authorization=f"Bearer {WEB}")
            assert gateway.upstreams["bctrl_browsers"].name not in answer.text
            return answer

        (row,) = (await call("GET", "/v1/runtimes")).json["items"]
        path = f"/v1/runtimes/{row['id']}/connections"
        found = await call("POST", path, {"protocol": "cdp"})
        (cdp,) = found.json["items"]
        async with client.ws_connect(cdp["url"]) as socket:
            await socket.send_str("hello")
            assert await socket.receive_str() == "hello"
            listed = await call("GET", path)
            assert [(item["protocol"], item["principal"]) for item in listed.json["items"]] == [("cdp", "web")]
            # An administrator knows the runtime by its other id.
            plain = f"/v1/runtimes/{plane.runtime_id}"
            if end == "revoke":
                await gateway.call("DELETE", f"{plain}/connections?principal=*")
            else:
                await gateway.call("POST", f"{plain}/stop", {})
            closed = await socket.receive(timeout=10)
        assert closed.type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == (4403 if end == "revoke" else 4410)
        async with client.get(f"{cdp['http_url']}/json/version") as response:
            assert response.status in {403, 409, 410}
            problem = await response.json()
        assert {"provider", "provider_status"}.isdisjoint(problem)
        if end == "revoke":
            (again,) = (await call("POST", path, {"protocol": "cdp"})).json["items"]
            assert (await call("DELETE", path)).status == 204
            async with client.get(f"{again['http_url']}/json/version") as response:
                assert response.status == 403


async def test_address_of_a_token_is_void_while_its_principal_is_disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Issuer().serving() as issuer:
        jwt = [issuer.settings(template="tenant", own_group="tenant")]
        async with started(monkeypatch, principals=PRINCIPALS, jwt=jwt) as plane, aiohttp.ClientSession() as client:
            token = {"Authorization": f"Bearer {issuer.token(tenant='acme')}"}
            body = {"kind": "browser", "name": "own", "start": True}
            made = await plane.gateway.call("POST", "/v1/runtimes", body, **token)
            path = f"/v1/runtimes/{made.json['id']}/connections"
            (cdp,) = (await plane.gateway.call("POST", path, {"protocol": "cdp"}, **token)).json["items"]
            version = f"{cdp['http_url']}/json/version"
            async with client.get(version) as response:
                assert response.status == 200
            await plane.gateway.call("POST", "/v1/principals/login%2Fu1/disable")
            async with client.get(version) as response:
                assert response.status == 403
            await plane.gateway.call("POST", "/v1/principals/login%2Fu1/enable")
            async with client.get(version) as response:
                assert response.status == 200


@pytest.mark.parametrize("enabled", [True, False])
async def test_public_caller_gets_no_address_of_the_provider(monkeypatch: pytest.MonkeyPatch, enabled: bool) -> None:
    async with started(monkeypatch, principals=PRINCIPALS, data=DATA if enabled else None) as plane:

        async def call(method: str, path: str, body: Any = None) -> Any:
            answer = await plane.gateway.call(method, path, body, Authorization=f"Bearer {WEB}")
            assert plane.address not in answer.text
            assert "view.invalid" not in answer.text
            return answer

        (row,) = (await call("GET", "/v1/runtimes")).json["items"]
        path = f"/v1/runtimes/{row['id']}/connections"
        found = await call("POST", path)
        if enabled:
            assert [item["protocol"] for item in found.json["items"]] == ["cdp", "webdriver"]
        else:
            assert (found.status, found.json["code"]) == (422, "unsupported_feature")
        assert (await call("POST", path, {"protocol": "live_view"})).json["code"] == "unsupported_feature"
        everything = await plane.gateway.call("POST", f"/v1/runtimes/{plane.runtime_id}/connections")
        shown = {item["protocol"] for item in everything.json["items"]}
        assert shown == {"cdp", "webdriver"} | (set() if enabled else {"live_view"})
        assert ("view.invalid" in everything.text) is not enabled
