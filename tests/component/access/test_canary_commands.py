"""No command prints a secret: every command of the command line runs, with results and with errors."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click
import pytest
from click.testing import CliRunner
from yarl import URL

from gateway.app import plugins
from gateway.cli import cli
from gateway.cli.contexts import replace_file
from gateway.cli.faults import file_of
from tests.certificates import write_certificate
from tests.component.access.canaries import ADMIN, CONFIG, DETAILS, ENV_VALUE, MAKER, WRONG_KEY, Search, served
from tests.component.access.matrix_calls import Thing, make, make_principal
from tests.component.fleets import Fleet
from tests.component.processes import HANGS
from tests.unit.services.fakes import FakeClock

_SERVERS: Final = ("serve", "emulate")  # they run until they are stopped, as demo does, which is a group
_CREATE_OPTIONS: Final = ("--kind", "durable", "--provider", "durable-demo", "--name", "by-command")


GONE: Final = {
    "object": "exported_runtime",
    "id": "bctrl-demo.gone",
    "kind": "browser",
    "provider": "bctrl-demo",
    "scope": plugins()["bctrl"].demo.scope,
    "provider_id": "5f1d7f4e-1f8e-4c39-8f69-000000000009",
    "create": {
        "kind": "browser",
        "name": "gone",
        "launch": {
            "mode": "ephemeral",
            "proxy": {"type": "http", "host": "proxy.example", "port": 1, "password": {"$secret": "PASSWORD_1"}},
        },
    },
}
"""A runtime that does not exist any longer, in an export."""

_NEEDS_A_STATE = frozenset(
    {"intents resolve"} | {f"migrate {verb}" for verb in ("apply", "pause", "resume", "cancel", "rollback")}
)
"""The commands that are refused here, because the create or the move is in another state."""


def commands(command: click.Command = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command and its name."""
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from commands(inner, (*path, name))
    elif path[0] not in _SERVERS:
        yield " ".join(path), command


def arguments(name: str, command: click.Command, thing: Thing, folder: Path) -> Sequence[str]:
    """Arguments with which a command works. Raises ``LookupError`` for a parameter that has none here."""
    values = {
        "runtime_id": thing.id,
        "references": thing.id,
        "binding_id": thing.binding,
        "key_id": thing.key_id,
        "intent_id": thing.intent,
        "file": str(folder / "gateway.yaml"),
        "owner": "maker",
        "principal": "maker",
        "stream": str(folder / "config.json"),
        "move_id": thing.move,
        "source": "bctrl-demo",
        "target": "browsers-demo",
        "provider": "browsers-demo",
        "digest": "none",
        "paths": str(folder / "apply.json"),
        "shell": "bash",
        "words": "runtimes",
    }
    if name == "import":
        values["file"] = str(folder / "fleet.ndjson")
    values["name"] = thing.provider if name.startswith("providers") else thing.principal
    if name.startswith("context"):
        values["name"] = "kept"
    if name.endswith("capabilities install"):
        values["name"] = "another-tool"
    if name == "demo fault set":
        values["name"] = "slow"
    given: list[str] = []
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            given.append(values[str(parameter.name)])
        elif parameter.required:
            given += [parameter.opts[0], values[str(parameter.name)]]
    more = {
        "runtimes create": ("-f", str(folder / "create.json"), *_CREATE_OPTIONS),
        "runtimes stop": ("--discard-state",),
        "login": ("--name", "kept"),
        "runtimes capabilities update": ("--flag", "fast=true"),
        "intents resolve": ("--absent",),
        "import": ("--dry-run", "--secrets", str(folder / "secrets.json")),
    }
    return [*name.split(), *given, *more.get(name, ())]


def returned(name: str) -> Sequence[str]:
    """The secrets that a command is there to print, besides those of connections and new keys."""
    return [ENV_VALUE] if name.startswith("runtimes config") else []


async def run(url: str, key: str, given: Sequence[str]) -> tuple[int, str, str]:
    """Run a command in a thread, because the emulators run in the loop of the test. Its pauses take no time."""
    environment = {"RTGW_SERVER": url, "RTGW_API_KEY": key, "COLUMNS": "400"}
    async with asyncio.timeout(HANGS):
        result = await asyncio.to_thread(CliRunner().invoke, cli, list(given), env=environment, obj=FakeClock())
    assert result.exception is None or isinstance(result.exception, SystemExit), (given, result.exception)
    return result.exit_code, result.stdout, result.stderr


async def test_no_command_prints_a_secret(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    search, codes = Search(), dict[str, set[int]]()
    (fleet.folder / "config.json").write_text(json.dumps(CONFIG))
    (fleet.folder / "create.json").write_text(json.dumps({"kind": "durable", **DETAILS["durable"]}))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(fleet.folder))
    (fleet.folder / "apply.json").write_text(
        json.dumps({"kind": "durable", "name": "applied", "provider": "durable-demo", **DETAILS["durable"]})
    )
    (fleet.folder / "fleet.ndjson").write_text("\n".join(map(json.dumps, (GONE, {"object": "export_end"}))))
    (fleet.folder / "secrets.json").write_text(json.dumps({"PASSWORD_1": ENV_VALUE}))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(fleet.folder))
    controls = {name: str(URL(one.settings["base_url"]).origin()) for name, one in fleet.emulators.items()}
    async with served(fleet) as gateway:
        url = await gateway.process.url()
        replace_file(file_of(url), controls)
        for name, command in commands():
            thing = await make_principal(gateway.gateway, await make(gateway.gateway, MAKER, _api(name)))
            given = arguments(name, command, thing, fleet.folder)
            absent = arguments(name, command, thing.absent(), fleet.folder)
            formats = next((p.type.choices for p in command.params if p.name == "output"), ())  # type: ignore[attr-defined]
            for key, words, fails in (
                (ADMIN, given, False),
                (WRONG_KEY, given, False),
                (ADMIN, absent, False),
                (ADMIN, given, True),
            ):
                _fail(fleet, fails=fails)
                for chosen in (["-o", "json"], []) if "json" in formats else ([],):
                    code, out, err = await run(url, key, [*words, *chosen])
                    codes.setdefault(name, set()).add(code)
                    allowed = _secrets_of_result(name, chosen, out, search)
                    search.text(out, name, returns=[*returned(name), *allowed])
                    search.text(err, f"{name} (stderr)")
            _fail(fleet, fails=False)
    assert search.found == [], "\n".join(search.found[:20])
    never = [name for name, seen in codes.items() if 0 not in seen and name not in _NEEDS_A_STATE]
    assert never == [], {name: codes[name] for name in never}
    assert search.made


def _api(name: str) -> str:
    """The API of the runtime that a command is given; durable runtimes cannot be deleted."""
    return "bctrl_browsers" if name == "runtimes delete" else "durable"


def _fail(fleet: Fleet, *, fails: bool) -> None:
    """Make every provider fail from now on with an error that repeats its credential, or stop that."""
    for one in fleet.emulators.values():
        one.emulator.faults.end_all()
        if fails:
            one.fault("*", "status", status=400, detail=f"not with {one.settings['token']}", times=100)


def _secrets_of_result(name: str, chosen: Sequence[str], out: str, search: Search) -> Sequence[str]:
    """What a command for connections or new keys prints; it is a secret in the output of all others."""
    if name == "runtimes connect":
        if chosen and out:
            search.learn(json.loads(out))
        return tuple(search.made) if chosen else _made_in(out, search)
    if name in {"keys create", "keys rotate"} and chosen and out:
        search.made.add(json.loads(out)["key"])
        return [json.loads(out)["key"]]
    return _made_in(out, search) if name in {"keys create", "keys rotate"} else ()


def _made_in(out: str, search: Search) -> Sequence[str]:
    return [secret for secret in search.made if secret in out]


async def test_commands_on_settings_print_no_secret_of_them(fleet: Fleet) -> None:
    """With a certificate, and with faults in the members that hold secrets."""
    search = Search()
    cert, key = write_certificate(fleet.folder)
    search.made.update(line for line in key.read_text().splitlines() if len(line) > 40)
    provider: dict[str, Any] = next(iter(fleet.emulators.values())).settings
    good = fleet.write("good", http={"listen": "127.0.0.1:0", "tls": {"cert": str(cert), "key": str(key)}})
    bad = fleet.write(
        "bad",
        auth={"keys": {"tests": {"key": "canary-wrong-key-12345 with spaces"}, "other": {"key": [{"a": ENV_VALUE}]}}},
        providers={"one": {**provider, "token": [provider["token"]]}, "two": {**provider, "base_url": ENV_VALUE}},
        store={"url": f"postgresql://me:{ENV_VALUE}@127.0.0.1:9/none", "encryption_keys": [ENV_VALUE]},
    )
    for file, expected in ((good, 0), (bad, 78)):
        for given in (["config", "check"], ["config", "show"], ["db", "status"], ["providers", "test", "one"]):
            code, out, err = await run("http://127.0.0.1:9", ADMIN, [*given, "--config", str(file)])
            search.text(out + err, f"{' '.join(given)} {file.name}")
            assert code == expected or given[0] != "config", (given, out, err)
    assert search.found == [], "\n".join(search.found)
    assert search.searched == 8
