"""A real browser: Chromium of the system, without a window. It reaches loopback addresses only."""

import os
import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, async_playwright, expect

ONLY_LOOPBACK = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1"

expect.set_options(timeout=60_000)  # milliseconds, for a busy machine


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """If Chromium is not installed, the test is skipped, except in CI, where it fails."""
    executable = shutil.which("chromium")
    if executable is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium is not installed")
        pytest.skip("Chromium is not installed")
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=executable, args=[ONLY_LOOPBACK])
        yield launched
        await launched.close()
