"""A reader of a page, who replaces the ids and names of its examples by those that the reader has."""

import re
import signal
import sys
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from tests.clients.environments import python_of
from tests.component.documented import world as worlds
from tests.component.documented.pages import Statement, blocks, statements
from tests.component.documented.session import READY, Session, install, session
from tests.component.documented.shown import failure, prints
from tests.component.documented.world import KEY, REQUEST_ID, World
from tests.component.processes import running, runtime_folder
from tests.issuer import Issuer

DEMO: Final = frozenset({"README.md", "docs/quickstart.md"})
"""Pages whose reader runs the demo."""
OWN_SETTINGS: Final = frozenset({"docs/settings.md", "docs/leaving-a-provider.md"})
"""Pages that show the settings file of their commands."""
RUNNING: Final = frozenset({"docs/api.md", "docs/connect.md"})
"""Pages whose examples are about a runtime that runs."""
PERSON: Final = "auth0|5f7c8ec7c33c6c004bbafe82"
DREADNODE: Final = "dreadnode-2.0.52"
BCTRL: Final = "bctrl-0.3.0"
PRINTS: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("README.md", "curl -i "): ("HTTP/1.1 201 Created", "Location: /v1/runtimes/durable-demo."),
    ("docs/access.md", "curl "): (f'"principal":"login/{PERSON}"',),
    ("docs/api.md", 'curl -sS "$RTGW_SERVER/v1/usage'): (
        *('{"object":"usage","by":"label:team","as_of":"', '"total":{"runtimes":', '"kinds":{"browser":', '"states":{'),
        *('"cost":{"billed_credits":', '"items":[{', '"value":"shop","known":true', '"left_out":0,"incomplete":[]'),
    ),
    ("docs/api.md", "curl -sS -X POST "): ('"changed":true',),
    ("docs/api.md", "curl -sS -i "): ("HTTP/1.1 201 Created", "Location: /v1/runtimes/", '"state":"running"'),
    ("docs/cli.md", "runtime-gateway intents list --config gateway.yaml --state unknown"): ("parked", "agent-"),
    ("docs/cli.md", "runtime-gateway intents list --config gateway.yaml --state parked"): ("in_",),
    ("docs/cli.md", "runtime-gateway intents decisions"): ("made", "absent", "asked the provider"),
    ("docs/cli.md", "runtime-gateway migrate apply "): ("done (1 moved)",),
    ("docs/cli.md", "runtime-gateway migrate rollback mv_019a… --sync-back "): ("rolled_back (1 rolled_back)",),
    ("docs/cli.md", "runtime-gateway runtimes apply -f fleet/ -f "): ("research-agent: unchanged", "checkout-bot: "),
    ("docs/cli.md", "runtime-gateway runtimes get research-agent checkout-bot"): ("research-agent", "checkout-bot"),
    ("docs/compatibility.md", "dn runtime list "): ("agent",),
    ("docs/creates.md", "curl "): ("HTTP/1.1 201 Created",),
    ("docs/creates.md", "cat answer.json"): ('"name":"order-4711"',),
    ("docs/deploy.md", "runtime-gateway config show "): ("ORIGIN", "***"),
    ("docs/quickstart.md", "runtime-gateway runtimes connect "): ("cdp ", "webdriver "),
    ("docs/quickstart.md", "runtime-gateway demo fault set emulator"): ("emulator  error  list   3 x",),
    ("docs/runbook.md", "runtime-gateway config check --online "): ("CREDENTIALS", "ok"),
    ("docs/runbook.md", "runtime-gateway intents list --config gateway.yaml --state "): ("parked",),
    ("docs/runbook.md", "runtime-gateway providers get NAME -o json"): ('"policies"', '"in_flight"', '"waiting"'),
    ("docs/settings.md", "runtime-gateway config show "): ("ORIGIN", "gateway.yaml:", "default"),
}
"""What pages say in words about the output of a command, by the page and the begin of the command."""
CALLED: Final = {("docs/connect.md", "export CDP="): "ID=a-browser", ("docs/connect.md", "export $("): "ID=agent"}
"""What the reader of a command has called ``$ID``."""
THEN: Final = {
    ("docs/quickstart.md", "curl -sS -i "): "%s | grep -c '^Idempotency-Replayed: true'",
    ("docs/connect.md", "export CDP="): "[[ $CDP == ws://127.0.0.1:*/cdp/* ]]",
    ("docs/connect.md", "export WEBDRIVER="): "[[ $WEBDRIVER == http://127.0.0.1:*/webdriver/* ]]",
    ("docs/connect.md", "export $("): "[[ $DREADNODE_RUNTIME_URL == http://127.0.0.1:* && $DREADNODE_RUNTIME_TOKEN ]]",
    ("docs/cli.md", "INSTANCE_ID="): "[[ $INSTANCE_ID ]]",
    ("docs/cli.md", "runtime-gateway completion bash"): ". ~/.local/share/bash-completion/completions/runtime-gateway",
}
"""What succeeds after a command, in which ``%s`` is the command."""
LATER: Final = frozenset({"docs/quickstart.md"})
"""Pages that show the output of a new demo after commands that have filled it, and say so."""
STDIN: Final = {"runtime-gateway login ": f"{KEY}\n", "runtime-gateway migrate apply ": "y\n"}
"""What is typed at a prompt."""
PRINTED: Final = {"mv_019a…": r"\bmv_[0-9a-f]+", "sha256:4f1c…": r"sha256:[0-9a-f]{64}"}
"""Examples that stand for what an earlier command has printed."""
_ROOT_FOLDERS: Final = re.compile(r"(?<![\w./-])/(?=(?:etc|opt|backup|var/lib)/)")


class Reader:
    """Follows a page, and begins each block in the folder of the checkout. ``examples`` are texts of the page, and
    what this reader has in their place."""

    def __init__(self, world: World, terminal: Session) -> None:
        self.world, self.terminal = world, terminal
        self.examples: dict[str, str] = {}
        self._block = 0

    async def follow(self, statement: Statement) -> None:
        """Paste a command of the page. It succeeds, or exits as the page says, and prints what the page shows."""
        if statement.block != self._block:
            self._block = statement.block
            await self.terminal.run(f"cd {self.world.folder}")
        called, then = entry(CALLED, statement), entry(THEN, statement)
        if called:
            await self.terminal.run(CALLED[called])
        text = await self._own(statement.text)
        stdin = next((typed for begin, typed in STDIN.items() if text.startswith(begin)), "")
        code, output = await self.terminal.run(text, stdin)
        for example, pattern in PRINTED.items():
            if found := re.findall(pattern, output):
                self.examples[example] = found[-1]
        report = f"{statement.place}\n{output}\nexit code {code}"
        if statement.shown is None:
            parts = entry(PRINTS, statement)
            assert code == 0, report
            missing = [part for part in (PRINTS[parts] if parts else ()) if part not in output]
            assert not missing, f"{missing}\n{report}"
        else:
            assert (code != 0) is failure(statement.shown), report
            assert prints(output, statement.shown, more=statement.page in LATER), report
        if then:
            code, output = await self.terminal.run(THEN[then].replace("%s", text))
            assert code == 0, f"{report}\n{THEN[then]}\n{output}"

    async def _own(self, text: str) -> str:
        """The command with what the reader has in place of the examples."""
        text = _ROOT_FOLDERS.sub(f"{self.world.folder}/", text)
        if "in_0d4f…" in text:
            text = text.replace("in_0d4f…", await self.world.parked())
        for example, own in self.examples.items():
            text = text.replace(example, own)
        return text


def entry(table: Collection[tuple[str, str]], statement: Statement) -> tuple[str, str] | None:
    """The key of a command in a table."""
    return next((each for each in table if each[0] == statement.page and statement.text.startswith(each[1])), None)


@asynccontextmanager
async def reader(page: str, folder: Path, command: tuple[str, ...]) -> AsyncIterator[Reader]:
    """Somebody who has read the page as far as its first command. The variables of the settings are set."""
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(worlds.world(folder))
        environment = {"RTGW_API_KEY": KEY}
        issuer = await stack.enter_async_context(Issuer().serving())
        world.write(settings_of(page) if page in OWN_SETTINGS else worlds.own_settings(issuer.settings()))
        if page in DEMO:
            world.url = await stack.enter_async_context(a_demo(folder, command))
        elif page not in OWN_SETTINGS:
            await stack.enter_async_context(worlds.gateway(world))
            environment["ID"] = await a_runtime(world, start=page in RUNNING)
            await world.parked()
            environment["TOKEN"] = issuer.token(sub=PERSON)
        journal = f'[ "$*" = "-u runtime-gateway -o cat" ] && exec cat {world.log}'
        path = install(folder, command, dn=dn(page), journalctl=journal, python3=python3(page))
        terminal = await stack.enter_async_context(session(folder, path, RTGW_SERVER=world.url, **environment))
        at = Reader(world, terminal)
        terminal.addresses |= {"http://127.0.0.1:8080": world.url, "https://gateway.example": world.url}
        at.examples |= {"RTGW_API_KEY=…": f"RTGW_API_KEY={KEY}", "your-gateway-key": KEY, "THE-NAME": "agent"}
        at.examples |= {" NAME": " durable-main", "durable-demo/": "durable-main/", "5b1f6f0a-…": REQUEST_ID}
        at.examples["durable-main.2489e9ad-…"] = environment.get("ID", "")
        yield at


@asynccontextmanager
async def a_demo(folder: Path, command: tuple[str, ...]) -> AsyncIterator[str]:
    """Run the demo, and end it with Ctrl-C: nothing of it is left."""
    async with running(
        "demo", "--port", "0", "--api-key", KEY, "--browser", "none", cwd=folder, command=command
    ) as demo:
        yield (await demo.until_output(READY["demo"]))[1]
        demo.send_signal(signal.SIGINT)
        assert await demo.wait() == 0, demo.output
        assert not list((runtime_folder(folder) / "runtime-gateway").iterdir())


def settings_of(page: str) -> Any:
    """The first settings that a page shows."""
    return YAML(typ="safe").load(next(block.code for block in blocks(page) if block.language == "yaml"))


async def a_runtime(world: World, *, start: bool) -> str:
    """Make the runtimes that the page's examples are about, and return the id of the durable one."""
    if start:
        bot = {"kind": "browser", "provider": "browsers-main", "name": "a-browser"}
        await world.call("POST", "/v1/runtimes", bot)
    fields = {"kind": "durable", "provider": "durable-main", "name": "agent", "start": start}
    return str((await world.call("POST", "/v1/runtimes", fields))["id"])


def python3(page: str) -> str:
    """The interpreter, on the page about clients that of the newest client."""
    own = python_of(BCTRL) if page == "docs/compatibility.md" else sys.executable
    return f'exec {own} "$@"'


def dn(page: str) -> str:
    """The client ``dn`` where a page runs it; elsewhere any program will do."""
    if any(statement.text.startswith("dn ") for statement in statements(page)):
        return f'exec {Path(python_of(DREADNODE)).with_name("dn")} "$@"'
    return "exit 1"
