"""Emulators of every provider API, for gateways that run as separate processes."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.component.fleets import Fleet, emulated


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    """Emulators of all provider APIs, started for one test."""
    async with emulated(tmp_path) as started:
        yield started
