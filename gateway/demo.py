"""The demo: the gateway in front of an emulator of every provider API, on loopback, without persistent data."""

import asyncio
import secrets
import shlex
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiohttp import web

from gateway.app import create_app, create_emulator, plugins, serving
from gateway.app.serving import listen, stop_signal, tune_gc
from gateway.domain.values import Feature
from gateway.settings import (
    AuthSettings,
    DataSettings,
    HealthSettings,
    HttpSettings,
    ListenAddress,
    LogSettings,
    PrincipalSettings,
    Settings,
    ShutdownSettings,
    StoreSettings,
)
from gateway.telemetry.logs import make_logger
from gateway.testing.controls import add_to
from gateway.testing.emulator import EMULATOR
from gateway.testing.listener import Listener

_HOST = "127.0.0.1"


Found = Callable[[str, Mapping[str, str]], AbstractContextManager[None]]
"""Called with the URL of a demo and the addresses of its emulators' controls, for as long as the demo runs."""


async def _serve(
    stack: AsyncExitStack, app: web.Application, host: str = _HOST, port: int = 0
) -> tuple[str, web.AppRunner]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    return await listen(runner, ListenAddress(host, port)), runner


async def start_emulators(
    stack: AsyncExitStack, *, far_ends: Mapping[str, Any] | None = None, controls: web.Application | None = None
) -> dict[str, dict[str, Any]]:
    """Start an emulator of every provider API on a free port, and return the settings of these providers. With
    ``far_ends``, options that differ from the plugins', they run what their runtimes' addresses lead to. With
    ``controls``, they are controlled there too, below the provider's name, and can refuse connections.

    Providers with connections come first, so that a runtime created without naming a provider can be connected to.
    """
    providers: dict[str, dict[str, Any]] = {}
    for api, plugin in plugins().items():
        token = f"emulated-{secrets.token_hex(16)}"
        known = plugin.emulator_options
        options = {} if far_ends is None else {name: far_ends.get(name, known[name]) for name in known}
        app = create_emulator(api, token=token, **options)
        url, runner = await _serve(stack, app)
        if controls is not None:
            emulator, own = app[EMULATOR], web.Application()
            emulator.listener = stack.enter_context(Listener(runner, emulator.faults))
            add_to(own, emulator)
            controls.add_subapp(f"/{plugin.demo.provider}", own)
        providers[plugin.demo.provider] = {
            "api": api,
            "base_url": url + plugin.demo.base_path,
            "token": token,
            "scope": plugin.demo.scope,
            "order": 1 if Feature.CONNECTIONS in plugin.adapter.features else 2,
            **(plugin.demo.options or {}),
        }
    return providers


def data_plane(port: int) -> DataSettings:
    """A data plane at the port after ``port``, or at any that is free if that is taken or ``port`` is itself 0."""
    following = port + 1 if 0 < port < 65535 else 0
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the listener has it
        try:
            probe.bind((_HOST, following))
        except OSError:
            following = 0
    return DataSettings(enabled=True, listen=f"{_HOST}:{following}")


def demo_settings(
    providers: dict[str, dict[str, Any]], *, port: int, api_key: str, folder: Path, data: DataSettings | None = None
) -> Settings:
    """The settings of a demo over the given providers, with one key called ``demo`` and its store in ``folder``."""
    known = plugins()
    return Settings(
        http=HttpSettings(listen=f"{_HOST}:{port}"),
        data=data or DataSettings(),
        auth=AuthSettings(
            principals={"demo": PrincipalSettings.model_validate({"keys": [api_key], "scopes": ["admin"]})}
        ),
        log=LogSettings(format="console"),
        health=HealthSettings(probe=False),  # emulators do not fail by themselves
        shutdown=ShutdownSettings(grace=2),
        store=StoreSettings.in_file(folder / "demo.db"),
        providers={
            name: known[options["api"]].settings.model_validate({"name": name, **options})
            for name, options in providers.items()
        },
    )


def _command_folder() -> str:
    """A ``PATH`` for the pasted line, so that another terminal finds the command of this environment."""
    folder = Path(sys.executable).parent
    if sys.prefix == sys.base_prefix or not (folder / "runtime-gateway").is_file():
        return ""
    return f' PATH={shlex.quote(str(folder))}:"$PATH"'


def _welcome(url: str, data: str | None, faults: str, api_key: str, providers: dict[str, dict[str, Any]]) -> str:
    listed = "\n".join(
        f"    {name:<14} {options['api']:<16} scope {options['scope']}" for name, options in providers.items()
    )
    return f"""runtime-gateway demo: everything runs on this machine, and no data is kept

  API      {url}/v1
  data     {data} (the way into runtimes)
  docs     {url}/docs
  console  {url}/console (sign in with the key)
  key      {api_key}
  faults   {faults}/PROVIDER/__faults (demo fault --help)
  providers (emulated)
{listed}

Paste into another terminal:

  export RTGW_SERVER={url} RTGW_API_KEY={shlex.quote(api_key)}{_command_folder()}
  runtime-gateway runtimes create --kind durable --name checkout-agent
  runtime-gateway runtimes list

Ctrl-C ends it.
"""


def run_demo(
    *, port: int, api_key: str | None, far_ends: Mapping[str, Any] | None = None, found: Found | None = None
) -> int:
    """Run the demo until SIGTERM or SIGINT; ``far_ends`` as in :func:`start_emulators`. Raises ``OSError`` when the
    port is taken, and pydantic's ``ValidationError`` for a key that is too short."""
    key = api_key or f"demo-{secrets.token_urlsafe(24)}"

    async def serve() -> None:
        stop = stop_signal()
        async with AsyncExitStack() as stack:
            ends, controls = {"browser": "auto", **(far_ends or {})}, web.Application()
            providers = await start_emulators(stack, far_ends=ends, controls=controls)
            faults, _ = await _serve(stack, controls)
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="runtime-gateway-")))
            settings = demo_settings(providers, port=port, api_key=key, folder=folder, data=data_plane(port))
            app = create_app(settings, logger=make_logger("info", "console"))
            addresses = await stack.enter_async_context(serving(settings, app))
            if found is not None:
                stack.enter_context(found(addresses.api, {name: f"{faults}/{name}" for name in providers}))
            tune_gc()
            welcome = _welcome(addresses.api, addresses.data, faults, key, providers)
            print(welcome, flush=True)  # noqa: T201 (this is what the demo is for)
            await stop.wait()

    asyncio.run(serve())
    return 0


def run_emulator(
    api: str, *, host: str, port: int, token: str | None, personality: dict[str, str], options: Mapping[str, Any]
) -> int:
    """Run one emulator until SIGTERM or SIGINT. ``options`` are those that differ from the plugin's. Raises ``OSError``
    when the port is taken."""
    accepted = token or f"emulated-{secrets.token_hex(16)}"

    async def serve() -> None:
        stop = stop_signal()
        async with AsyncExitStack() as stack:
            chosen = {**plugins()[api].emulator_options, **options}
            app = create_emulator(api, token=accepted, personality=personality, **chosen)
            url, _ = await _serve(stack, app, host, port)
            print(  # noqa: T201 (the user or a test needs the address)
                *(f"{api} emulator on {url}", f"token {accepted}", f"faults: {url}/__faults"), sep="\n", flush=True
            )
            tune_gc()
            await stop.wait()

    asyncio.run(serve())
    return 0
