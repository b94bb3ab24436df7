"""The README's first steps, executed as a new user would: pasted one after the other into one shell."""

import re
import shlex
from pathlib import Path

import pytest

from tests.component.processes import COMMAND, ROOT, finished, running

KEY = "a-key-for-the-readme"
COLUMNS = "200"

_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_VOLATILE = (
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "<uuid>"),
    (re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z"), "<time>"),
    (re.compile(r"(?<=  )\d+[smh]$", re.MULTILINE), "<age>"),
    (re.compile(r"\bbr_[0-9a-f]{20}\b"), "<id>"),
    (re.compile(r"(?<=://127\.0\.0\.1:)\d+"), "<port>"),
    (re.compile(r"\bAdqI2Fk…|\b[\w-]{100,}"), "<token>"),
)


def console_steps(page: str) -> list[tuple[str, str]]:
    """Every command of the page's console blocks, with the output that the page shows."""
    steps: list[tuple[str, str]] = []
    for block in _BLOCK.findall(page):
        for line in block.splitlines(keepends=True):
            if line.startswith("$ "):
                steps.append((line[2:].rstrip("\n"), ""))
            else:
                command, shown = steps[-1]
                steps[-1] = (command, shown + line)
    return steps


def without_volatile(text: str) -> str:
    """``text`` with values that differ between runs replaced, and without blanks at the ends of lines."""
    for pattern, name in _VOLATILE:
        text = pattern.sub(name, text)
    return "\n".join(re.sub(r" {2,}", "  ", line.rstrip()) for line in text.splitlines())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that contains only ``bin`` with the command."""
    script = tmp_path / "bin" / "runtime-gateway"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    script.chmod(0o755)
    return tmp_path


async def test_every_step_of_the_readme_prints_the_shown_output(folder: Path) -> None:
    steps = console_steps((ROOT / "README.md").read_text("utf-8"))
    assert len(steps) > 10
    script = "\n".join(f"{{ {command}\n}} > out.{index} 2>&1" for index, (command, _) in enumerate(steps))
    async with running("demo", "--port", "0", "--api-key", KEY, "--browser", "none", cwd=folder) as demo:
        environment = {
            "RTGW_SERVER": await demo.url(),
            "RTGW_API_KEY": KEY,
            "COLUMNS": COLUMNS,
            "PATH": f"{folder / 'bin'}:/usr/bin:/bin",
        }
        shell = await finished(
            "--noprofile", "--norc", "-c", script, command=("bash",), cwd=folder, environment=environment
        )
        assert shell.stderr == ""
        demo.send_signal()
        assert await demo.wait() == 0
    seen = [(command, (folder / f"out.{index}").read_text("utf-8")) for index, (command, _) in enumerate(steps)]
    for (command, shown), (_, output) in zip(steps, seen, strict=True):
        assert without_volatile(output) == without_volatile(shown), f"$ {command}\n{output}"


async def test_the_demo_tells_what_to_paste_and_ends_well(folder: Path) -> None:
    """The lines that the demo prints work as they are, also from another folder; SIGTERM ends it with 0."""
    async with running("demo", "--port", "0", cwd=folder) as demo:
        await demo.until_output("Ctrl-C ends it.")
        lines = re.findall(r"^  (export .*|runtime-gateway .*)$", demo.output, re.MULTILINE)
        assert len(lines) == 3
        environment = {"PATH": f"{folder / 'bin'}:/usr/bin:/bin"}
        shell = await finished(
            "--noprofile", "--norc", "-ec", "\n".join(lines), command=("bash",), cwd=folder, environment=environment
        )
        assert (shell.code, shell.stderr) == (0, "")
        assert shell.stdout.count("checkout-agent") == 2
        demo.send_signal()
        assert await demo.wait() == 0
