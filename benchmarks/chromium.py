"""The round trip of a CDP command to a real Chromium through the data plane, where Chromium is installed."""

import asyncio
import shutil
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import aiohttp

from benchmarks.bench import Bench, compared
from benchmarks.load import percentile, run
from benchmarks.processes import LOAD, Server, free_port, running, until_answers
from benchmarks.results import Row
from benchmarks.versions import KEY, settings
from gateway.app import plugins

NAME: Final = "round trip to Chromium"
_API: Final = "bctrl_browsers"
_TOKEN: Final = "emulator-token"  # noqa: S105 (the default of the command)
_STARTS_WITHIN: Final = 60.0


def chromium(bench: Bench) -> Iterator[Row]:
    """Measure alternately, directly and through the gateways."""
    if not bench.wanted(NAME):
        return
    if shutil.which("chromium") is None:
        bench.say("Chromium is not installed: its round trip is left out")
        return
    demo, added = plugins()[_API].demo, defaultdict[tuple[str, int], list[float]](list)
    with _emulator(bench) as emulator:
        provider = {"api": _API, "base_url": emulator.url + demo.base_path, "token": _TOKEN, "scope": demo.scope}
        providers = {"browsers": {**provider, **(demo.options or {})}}
        data = {"enabled": True, "listen": "127.0.0.1:0"}
        with bench.gateways(lambda folder: settings(folder / "gateway.db", providers, data=data)) as gateways:
            runtime = run(_started(gateways["after"].url))
            url = emulator.url + demo.base_path + "/v1/browsers/" + runtime.partition(".")[2]
            browser = run(_json("GET", url, token=_TOKEN))
            direct = browser["currentRun"]["connections"]["cdpUrl"]
            through = {name: run(_address(gateway.url, runtime)) for name, gateway in gateways.items()}
            for counts in bench.rounds(NAME):
                alone = run(round_trips(direct, bench.seconds))
                for name, url in through.items():
                    took = run(round_trips(url, bench.seconds))
                    if counts:
                        for percent in (50, 99):
                            more = percentile(took, percent) - percentile(alone, percent)
                            added[name, percent].append(more * 1000)
    for percent in (50, 99):
        row = {"part": "more", "work": NAME, "measure": f"added p{percent}", "unit": "ms"}
        yield compared(row, {name: added[name, percent] for name in through})


@contextmanager
def _emulator(bench: Bench) -> Iterator[Server]:
    version, port = bench.versions[-1], free_port()
    command = version.command("emulate", _API, "--port", str(port), "--browser", "auto")
    with running(command, processor=LOAD, cwd=version.folder, stdout=subprocess.DEVNULL) as process:
        until_answers(process, f"http://127.0.0.1:{port}/__stats")
        yield Server(f"http://127.0.0.1:{port}", process.pid)


async def _json(method: str, url: str, body: Any = None, token: str = KEY) -> Any:
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as client,
        client.request(method, url, json=body, raise_for_status=True) as response,
    ):
        return await response.json()


async def _started(gateway: str) -> str:
    """The id of a running browser. Raises ``TimeoutError`` if it does not start."""
    made = await _json("POST", f"{gateway}/v1/runtimes", {"kind": "browser", "name": "bench", "start": True})
    async with asyncio.timeout(_STARTS_WITHIN):
        while made["state"] != "running":
            made = await _json("GET", f"{gateway}/v1/runtimes/{made['id']}?wait=5")
    return str(made["id"])


async def _address(gateway: str, runtime: str) -> str:
    found = await _json("POST", f"{gateway}/v1/runtimes/{runtime}/connections", {})
    return next(str(item["url"]) for item in found["items"] if item["protocol"] == "cdp")


async def round_trips(url: str, seconds: float) -> list[float]:
    """The seconds of each command."""
    took: list[float] = []
    async with aiohttp.ClientSession() as client, client.ws_connect(url) as socket:
        end = time.perf_counter() + seconds
        while (began := time.perf_counter()) < end:
            await socket.send_json({"id": len(took), "method": "Browser.getVersion"})
            await socket.receive_json()
            took.append(time.perf_counter() - began)
    return took
