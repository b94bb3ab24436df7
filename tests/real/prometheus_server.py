"""A Prometheus of Debian with the configuration of ``config/deploy``, in which a minute takes three seconds."""

import asyncio
import re
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp

from tests.component.processes import HANGS, client, running
from tests.deployment import DEPLOY
from tests.programs import program

MINUTE: Final = 3  # seconds
FOLDER: Final = DEPLOY / "prometheus"


def faster(text: str) -> str:
    """The text with each duration in minutes or seconds shortened, to a second at least."""

    def shortened(match: re.Match[str]) -> str:
        seconds = int(match[1]) * (MINUTE if match[2] == "m" else MINUTE / 60)
        return f"{max(round(seconds), 1)}s"

    return re.sub(r"(?<![\w.])(\d+)([ms])\b", shortened, text)


class PrometheusServer:
    """A running server. Start one with :func:`prometheus_server`."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def _data(self, path: str, **parameters: str) -> Any:
        async with self._session.get(f"/api/v1/{path}", params=parameters) as response:
            body = await response.json()
            assert body["status"] == "success", body
            return body["data"]

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples that the expression has now."""
        found: list[dict[str, Any]] = (await self._data("query", query=expression))["result"]
        return found

    async def firing(self) -> list[dict[str, str]]:
        """The labels of the alerts that fire."""
        alerts = (await self._data("alerts"))["alerts"]
        return [alert["labels"] for alert in alerts if alert["state"] == "firing"]

    async def until(self, expression: str) -> None:
        """Return when the expression has a sample."""
        async with asyncio.timeout(HANGS):
            while not await self.query(expression):
                pass


@asynccontextmanager
async def prometheus_server(folder: Path, targets: Mapping[str, str]) -> AsyncIterator[PrometheusServer]:
    """Run a server that scrapes ``targets``: an address for each one of ``prometheus.yml``."""
    configuration = faster((FOLDER / "prometheus.yml").read_text("utf-8"))
    for name, address in targets.items():
        assert f'"{name}"' in configuration
        configuration = configuration.replace(f'"{name}"', f'"{address}"')
    (folder / "prometheus.yml").write_text(configuration)
    (folder / "alerts.yaml").write_text(faster((FOLDER / "alerts.yaml").read_text("utf-8")))
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{found.getsockname()[1]}"
    arguments = ("--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={address}")
    async with running(*arguments, cwd=folder, command=(program("prometheus"),)) as process:
        await process.until_output("Server is ready to receive web requests")
        async with client(f"http://{address}") as session:
            yield PrometheusServer(session)
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
