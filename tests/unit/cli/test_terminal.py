"""What commands do on a terminal: they ask before they destroy, show that they wait, and use its width."""

import asyncio
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from fcntl import ioctl
from pathlib import Path

import pytest
from aiohttp import web

from .conftest import ID, KEY, ScriptedGateway, page, runtime

COLUMNS = 60


class Terminal:
    """A command on a terminal of 60 columns."""

    def __init__(self, server: str, folder: Path, *arguments: str) -> None:
        self._controller, terminal = pty.openpty()
        ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
        environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
        environment |= {"RTGW_SERVER": server, "RTGW_API_KEY": KEY, "TERM": "xterm", "XDG_CONFIG_HOME": str(folder)}
        words = [sys.executable, "-m", "gateway", *arguments]
        streams = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
        self._process = subprocess.Popen(words, env=environment, start_new_session=True, **streams)
        os.close(terminal)
        self.shown = ""

    def until(self, pattern: str) -> None:
        """Read until the pattern is on the terminal. Fails if the command ends before."""
        while not re.search(pattern, self.shown):
            assert self._read(), f"{pattern!r} was not shown: {self.shown!r}"

    def write(self, text: str) -> None:
        os.write(self._controller, text.encode())

    def end(self) -> int:
        while self._read():
            pass
        return self._process.wait()

    def _read(self) -> bool:
        ready, _, _ = select.select([self._controller], [], [], 60)
        assert ready, f"nothing more was shown: {self.shown!r}"
        try:
            read = os.read(self._controller, 65_536)
        except OSError:  # Linux: the command has closed the terminal
            return False
        self.shown += read.decode()
        return bool(read)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._controller)


Open = Callable[..., Terminal]


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


@pytest.fixture
def open_terminal(gateway: ScriptedGateway, tmp_path: Path, terminals: list[Terminal]) -> Open:
    def opening(*arguments: str) -> Terminal:
        terminals.append(Terminal(gateway.url, tmp_path, *arguments))
        return terminals[-1]

    return opening


@pytest.mark.parametrize(
    ("arguments", "question"),
    [
        (("runtimes", "reset", ID), f"Discard the state of {ID}\\?"),
        (("runtimes", "delete", ID), f"Delete permanently {ID}\\?"),
        (("principals", "delete", "team-a"), "Delete the principal team-a and its keys\\?"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else "",
)
def test_destroying_command_asks_and_does_nothing_without_a_yes(
    gateway: ScriptedGateway, open_terminal: Open, arguments: tuple[str, ...], question: str
) -> None:
    refusing = open_terminal(*arguments)
    refusing.until(question)
    refusing.write("n\n")
    assert refusing.end() == 1
    assert gateway.seen == []
    gateway.answers(runtime(changed=True))
    agreeing = open_terminal(*arguments)
    agreeing.until(question)
    agreeing.write("y\n")
    assert agreeing.end() == 0
    gateway.answers(runtime(changed=True))
    unasked = open_terminal(*arguments, "--yes")
    assert unasked.end() == 0
    assert "?" not in unasked.shown


def test_question_names_what_the_labels_have_selected(gateway: ScriptedGateway, open_terminal: Open) -> None:
    gateway.answers(page(runtime(name="one"), runtime(id="p.2", name="two")))
    terminal = open_terminal("runtimes", "delete", "-l", "team=shop")
    terminal.until("Delete permanently one, two\\?")
    terminal.write("\n")
    assert terminal.end() == 1
    assert len(gateway.seen) == 1


def test_call_of_more_than_a_second_shows_that_it_waits(gateway: ScriptedGateway, open_terminal: Open) -> None:
    seen = asyncio.Event()

    async def late(_: web.Request) -> web.Response:
        loops.append(asyncio.get_running_loop())
        await seen.wait()
        return web.json_response(page(runtime()))

    loops: list[asyncio.AbstractEventLoop] = []
    gateway.script.append(late)
    terminal = open_terminal("runtimes", "list")
    terminal.until("waiting for http://127.0.0.1")
    loops[0].call_soon_threadsafe(seen.set)
    assert terminal.end() == 0
    assert "research-agent" in terminal.shown


def test_table_fits_the_terminal(gateway: ScriptedGateway, open_terminal: Open) -> None:
    gateway.answers(page(runtime(name="n" * 100)))
    terminal = open_terminal("runtimes", "list")
    assert terminal.end() == 0
    lines = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in terminal.shown.splitlines()]
    assert max(map(len, lines)) <= COLUMNS
    assert len([line for line in lines if "durable" in line]) == 1


def test_key_is_asked_for_without_an_echo(gateway: ScriptedGateway, open_terminal: Open, tmp_path: Path) -> None:
    gateway.answers({"principal": "team-a"})
    terminal = open_terminal("login", "--api-key", "")
    terminal.until("Key: ")
    terminal.write("a-key-that-is-typed\n")
    assert terminal.end() == 0
    assert "a-key-that-is-typed" not in terminal.shown
    assert "a-key-that-is-typed" in (tmp_path / "runtime-gateway" / "contexts.json").read_text()
