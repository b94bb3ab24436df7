"""A reader's terminals: a shell into which the commands of a page are pasted, and beside it what runs until Ctrl-C."""

import asyncio
import re
import shlex
import shutil
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from tests.component.processes import COMMAND, HANGS, Running, clean_environment, running, runtime_folder

COLUMNS: Final = "200"
_STAYS: Final = re.compile(r"runtime-gateway (?:serve|demo|emulate)\b(?! fault)")
_PORT: Final = re.compile(r"(?<=--port )\d+|(?<=--listen 127\.0\.0\.1:)\d+")
READY: Final = {
    "demo": r"(?s)API +(http://[\d.]+:\d+)/v1.*Ctrl-C ends it\.",
    "serve": r'"event":"started".*?"url":"([^"]+)"',
    "emulate": r"(http://[\d.]+:\d+)\b",
}
"""What each command prints when it is ready, with its address."""


def install(folder: Path, command: tuple[str, ...] = COMMAND, **programs: str) -> str:
    """Make ``bin`` in ``folder``, with the command and with the other ``programs``: their shell code by name. Returns a
    ``PATH`` that has it."""
    (folder / "bin").mkdir()
    for name, code in {"runtime-gateway": f'exec {shlex.join(command)} "$@"', **programs}.items():
        script = folder / "bin" / name
        script.write_text(f"#!/bin/sh\n{code}\n")
        script.chmod(0o755)
    return f"{folder / 'bin'}:/usr/local/bin:/usr/bin:/bin"


class Session:
    """One shell in ``folder``. ``addresses`` are the documented addresses, and what they are here."""

    def __init__(
        self, shell: asyncio.subprocess.Process, stack: AsyncExitStack, folder: Path, environment: Mapping[str, str]
    ) -> None:
        self.folder, self.addresses = folder, dict[str, str]()
        self._shell, self._stack, self._environment = shell, stack, environment
        self._beside: tuple[Running, AsyncExitStack] | None = None
        self._command = (str(folder / "bin" / "runtime-gateway"),)
        self._own = dict[str, str]()
        self._number = 0

    async def run(self, text: str, stdin: str = "") -> tuple[int, str]:
        """Paste a command. Return its exit code, and what the terminal shows. What runs until Ctrl-C is started
        in another terminal, in place of the one before: its code is 0 as soon as it is ready."""
        for documented, here in (self.addresses | self._own).items():
            text = text.replace(documented, here)
        return await (self._start(text) if _STAYS.match(text) else self._paste(text, stdin))

    async def _paste(self, text: str, stdin: str) -> tuple[int, str]:
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._number += 1
        output, given = self.folder.parent / f"output.{self._number}", self.folder.parent / "stdin"
        given.write_text(stdin)
        code = f"{{\n{text}\n}} < {given} > {output} 2>&1\necho $?\n"
        self._shell.stdin.write(code.encode())
        async with asyncio.timeout(HANGS * 2):
            line = await self._shell.stdout.readline()
        assert line, f"the shell has ended: {text}"
        return int(line), output.read_text("utf-8", errors="replace")

    async def _start(self, text: str) -> tuple[int, str]:
        await self.interrupt()
        arguments = shlex.split(_PORT.sub("0", text), comments=True)[1:]
        if arguments[0] in {"demo", "emulate"} and "--port" not in arguments:
            arguments += ["--port", "0"]
        stack = await self._stack.enter_async_context(AsyncExitStack())
        process = running(*arguments, cwd=self.folder, command=self._command, environment=self._environment)
        self._beside = await stack.enter_async_context(process), stack
        found = await self._beside[0].until_output(READY[arguments[0]])
        if arguments[0] != "emulate" or _PORT.search(text):
            self._own[f"http://127.0.0.1:{(_PORT.search(text) or ['8080'])[0]}"] = found[1]
        return 0, self._beside[0].output

    async def interrupt(self) -> None:
        """Press Ctrl-C in the other terminal, if something runs there. It ends with 0."""
        if self._beside is None:
            return
        (process, stack), self._beside = self._beside, None
        self._own.clear()
        process.send_signal(signal.SIGINT)
        code = await process.wait()
        await stack.aclose()
        assert code == 0, process.output


@asynccontextmanager
async def session(folder: Path, path: str, **environment: str) -> AsyncIterator[Session]:
    """Open a terminal in an empty folder. What still runs at the end is interrupted."""
    variables = {"PATH": path, "HOME": str(folder), "COLUMNS": COLUMNS, **environment}
    bash = shutil.which("bash")
    assert bash is not None
    shell = await asyncio.create_subprocess_exec(
        bash,
        *("--noprofile", "--norc", "-o", "pipefail", "-o", "nounset"),
        cwd=folder,
        env=clean_environment(XDG_RUNTIME_DIR=str(runtime_folder(folder)), **variables),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert shell.stdin is not None
    shell.stdin.write(b'curl() { command curl --fail-with-body "$@"; }\n')  # fails with the response of its call
    try:
        async with AsyncExitStack() as stack:
            opened = Session(shell, stack, folder, variables)
            yield opened
            await opened.interrupt()
    finally:
        shell.stdin.close()
        async with asyncio.timeout(HANGS):
            await shell.wait()
