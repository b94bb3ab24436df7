"""An emulator of every provider API, for gateways that are real processes."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.component.fleets import Fleet, emulated


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    """The emulators of all provider APIs, for this test alone."""
    async with emulated(tmp_path) as started:
        yield started
