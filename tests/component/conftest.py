"""Emulators of every provider API, for gateways that run as separate processes, and the memory of data planes."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.app import data_wiring
from gateway.services.data_plane.endpoints import Endpoints
from tests.component.fleets import Fleet, emulated


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    """Emulators of all provider APIs, started for one test."""
    async with emulated(tmp_path) as started:
        yield started


@pytest.fixture
def endpoints(monkeypatch: pytest.MonkeyPatch) -> list[Endpoints]:
    """What the gateways of the test keep in memory of the runtimes behind their data planes."""
    made: list[Endpoints] = []

    def make(*arguments: Any) -> Endpoints:
        made.append(Endpoints(*arguments))
        return made[-1]

    monkeypatch.setattr(data_wiring, "Endpoints", make)
    return made
