"""The event loop that the settings select."""

import asyncio
import sys

import pytest

from gateway.app.event_loop import loop_factory
from gateway.settings import SettingsError


@pytest.mark.parametrize("name", ["asyncio", "uvloop"])
def test_loop_is_the_selected_one(name: str) -> None:
    async def module() -> str:
        return type(asyncio.get_running_loop()).__module__.partition(".")[0]

    with asyncio.Runner(loop_factory=loop_factory(name)) as runner:
        assert runner.run(module()) == name


def test_uvloop_that_is_not_installed_is_a_fault_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with pytest.raises(SettingsError, match=r"http\.event_loop: uvloop is not installed"):
        loop_factory("uvloop")
