"""The complete service passes native requests to every provider API, with the credentials that its adapter uses."""

import re

import pytest
from aiohttp import ClientSession

from gateway.app import create_app, create_emulator, plugins, provider_models, serving
from gateway.settings import AuthSettings, GatewayKey, HttpSettings, Settings
from gateway.telemetry.logs import make_logger
from gateway.testing.emulator import EMULATOR
from gateway.testing.processes import running
from tests.component.stores import in_memory

KEY = "a-key-of-a-shop-1234"
TOKEN = "the-token-of-the-provider"


def list_path(api: str) -> str:
    """The path of the provider's own list, in the scope of the demo."""
    routes = create_emulator(api, token=TOKEN)[EMULATOR].operations
    path = next(route.resource.canonical for route, name in routes.items() if name == "list" and route.resource)
    parts = iter(plugins()[api].demo.scope.split("/"))
    return re.sub(r"\{[^}]*\}", lambda _: next(parts), path)


@pytest.mark.parametrize("api", plugins())
async def test_native_requests_carry_the_credentials_of_every_adapter(api: str) -> None:
    async with running(create_emulator(api, token=TOKEN)) as url:
        provider = provider_models()[api].model_validate({"name": "p", "api": api, "base_url": url, "token": TOKEN})
        settings = Settings(
            http=HttpSettings(listen="127.0.0.1:0"),
            auth=AuthSettings(keys={"shop": GatewayKey.model_validate({"key": KEY})}),
            providers={"p": provider},
        )
        app = create_app(settings, store=in_memory(), logger=make_logger("error"))
        async with serving(settings, app) as addresses, ClientSession(headers={"X-API-Key": KEY}) as session:
            async with session.get(f"{addresses.api}/native/p{list_path(api)}") as response:
                assert response.status == 200, await response.text()
                assert response.headers["Proxy-Status"] == "runtime-gateway; received-status=200"
            async with session.post(f"{addresses.api}/native/p{list_path(api)}", json={}) as response:
                assert response.status == 403
                assert (await response.json())["code"] == "permission_denied"
