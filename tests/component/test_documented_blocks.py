"""The shell blocks of the pages about the API, executed as they are at a gateway with emulated providers.

A block that cannot run in a test has a comment in the line before it: ``[//]: # (not run: the reason)``.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.component.processes import COMMAND, ROOT, finished
from tests.component.whole_gateway import KEY, whole_gateway

PAGES: Final = ("api", "creates", "native", "audit")
MARK: Final = r"\[//\]: # \(not run: (?P<reason>[^\n]+)\)\n"
BLOCK: Final = re.compile(rf"^(?:{MARK})?```sh\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
FAILING: Final = 'curl() { command curl --fail-with-body "$@"; }\n'
"""Makes a block fail with the response of its call."""


def blocks() -> Iterator[object]:
    for page in PAGES:
        for number, block in enumerate(BLOCK.finditer((ROOT / f"docs/{page}.md").read_text("utf-8")), 1):
            if block["reason"] is None:
                yield pytest.param(block["code"], id=f"{page}-{number}")


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A search path that has the command."""
    script = tmp_path / "bin" / "runtime-gateway"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    script.chmod(0o755)
    return f"{script.parent}:/usr/bin:/bin"


@pytest.mark.parametrize("code", list(blocks()))
async def test_block_succeeds(code: str, path: str, tmp_path: Path) -> None:
    """``$ID`` is the id of a running durable runtime, as the pages say."""
    async with whole_gateway("durable", "bctrl", "bctrl_browsers") as gateway:
        runtime = await gateway.create(gateway.upstreams["durable"], start=True)
        environment = {"RTGW_SERVER": gateway.url, "RTGW_API_KEY": KEY, "ID": runtime["id"], "PATH": path}
        code = code.replace("http://127.0.0.1:8080", gateway.url)
        shell = ("bash", "--noprofile", "--norc", "-euo", "pipefail", "-c", FAILING + code)
        ended = await finished(command=shell, cwd=tmp_path, environment=environment)
        assert ended.code == 0, ended.stdout + ended.stderr


def test_blocks_that_are_not_run_say_why() -> None:
    """A mark that no block follows would hide that its block runs, or that there is none."""
    for page in PAGES:
        text = (ROOT / f"docs/{page}.md").read_text("utf-8")
        marked = [block["reason"] for block in BLOCK.finditer(text) if block["reason"]]
        assert text.count("(not run: ") == len(marked)
