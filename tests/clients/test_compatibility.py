"""The compatibility declarations are true: every call of every provider's own client is made through the gateway, and
ends at a route that its declaration names, or at no route if it is declared as refused."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from io import StringIO
from pathlib import Path

import pytest

from gateway.app import plugins
from tests.clients.environments import environment, python_of
from tests.compatibility import Client, ClientCall, Compatibility, Support
from tests.component.dialects.bctrl_world import world
from tests.component.dialects.durable_sides import through_the_gateway
from tests.generated_docs import compatibility

ROOT = Path(__file__).parents[2]
DECLARED = {declared.title: declared for plugin in plugins().values() for declared in compatibility(plugin)}
FLAT, TODAY = (declared for title, declared in DECLARED.items() if title.startswith(("Flat", "Current")))
COMMANDS, LIBRARY = (declared for title, declared in DECLARED.items() if title.startswith(("The command", "The lib")))
UNMATCHED = "unmatched"
LOOKED_UP_BEFORE = {"list_workspaces", "get_project"}
"""Operations that some refused calls use first, to find out their workspace or project."""

# How each client is constructed, by the client's name, because one environment may contain several clients.
MADE = {
    "`bctrl` 0.1.0, 0.1.1": ("bctrl", "Bctrl", "api_key"),
    "`bctrl` 0.1.2 to 0.1.5": ("bctrl", "Bctrl", "api_key"),
    "`bctrl.legacy` of 0.3.0": ("bctrl.legacy", "Bctrl", "api_key"),
    "`Bctrl` of `bctrl` 0.3.0": ("bctrl", "Bctrl", "token"),
    "`AsyncBctrl` of `bctrl` 0.3.0": ("bctrl", "AsyncBctrl", "token"),
    "`dreadnode.app.api.client.ApiClient` of 2.0.52": ("dreadnode.app.api.client", "ApiClient", "api_key"),
}


async def asked(client: Client, home: Path, **options: object) -> list[str]:
    """Run ``client_calls.py`` in the client's environment, and return the names that it prints."""
    assert client.environment is not None
    process = await asyncio.create_subprocess_exec(
        python_of(client.environment),
        str(ROOT / "tests" / "clients" / "client_calls.py"),
        json.dumps(options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=home,
        env=environment(home),
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    names: list[str] = json.loads(out)
    return names


def ended_at(marks: Collection[str], log: StringIO) -> dict[str, set[str]]:
    """Return for each mark the operations in the gateway's log at which the requests after this mark ended."""
    found: dict[str, set[str]] = {name: set() for name in marks}
    current = ""
    for line in map(json.loads, log.getvalue().splitlines()):
        if line.get("event") == "request":
            if line["request_id"] in found:
                current = line["request_id"]
            else:
                found[current].add(line["operation"])
    return found


async def called(client: Client, home: Path, url: str, key: str, log: StringIO) -> dict[str, set[str]]:
    """Make every call of a client, and return for each the operations at which its requests ended."""
    module, name, secret = MADE[client.name]
    options = {"base_url": url, secret: key}
    made = await asked(client, home, module=module, options=options, mark=url, **{"class": name})
    found = ended_at(made, log)
    without_request = [name for name, operations in found.items() if not operations]
    assert len(without_request) < len(made) / 10, f"too many calls sent nothing: {without_request}"
    return found


def check(declared: Compatibility, client: Client, found: Mapping[str, set[str]]) -> None:
    """Check that every call has a line in the declaration, every line has calls, and each call ended as declared."""
    by_line: dict[str, set[str]] = defaultdict(set)
    for name, operations in found.items():
        line = line_of(declared, client, name)
        by_line[line.name] |= operations
        if line.name == "*":
            assert operations - LOOKED_UP_BEFORE <= {UNMATCHED}, (name, operations)
    for line in declared.calls:
        if not line.exists_in(client):
            assert line.name not in by_line
        elif line.support in {Support.REFUSED, Support.FORWARDABLE}:
            assert by_line[line.name] - LOOKED_UP_BEFORE == {UNMATCHED}, line.name
        else:
            assert by_line[line.name], line.name
            assert by_line[line.name] <= set(line.routes), line.name


def line_of(declared: Compatibility, client: Client, name: str) -> ClientCall:
    """Return the first line of the declaration that names a call."""
    return next(line for line in declared.calls if line.exists_in(client) and fnmatchcase(name, line.name))


@pytest.mark.parametrize(
    ("declared", "client"),
    [pytest.param(each, client, id=client.name) for each in (FLAT, TODAY) for client in each.clients],
)
async def test_every_call_of_the_bctrl_clients_ends_at_its_declared_route(
    declared: Compatibility, client: Client, tmp_path: Path
) -> None:
    async with world() as w:
        found = await called(client, tmp_path, w.dialect.url, w.dialect.key, w.log)
    check(declared, client, found)


async def test_every_call_of_the_dreadnode_library_ends_at_its_declared_route(tmp_path: Path) -> None:
    async with through_the_gateway() as side:
        (client,) = LIBRARY.clients
        found = await called(client, tmp_path, side.url, side.key, side.log)
    check(LIBRARY, client, found)


ARGUMENTS = {
    "dn runtime list": [],
    "dn runtime get": ["any"],
    "dn runtime create": ["--key", "any", "--name", "Any"],
    "dn runtime start": ["any"],
    "dn runtime pause": ["any"],
    "dn runtime resume": ["any"],
    "dn runtime keepalive": ["any"],
    "dn runtime reset": ["any", "--yes"],
    "dn runtime config-get": ["any"],
    "dn runtime config-set": ["any", "--egress", "one.test"],
    "dn whoami": [],
    "dn login": [],
    "dn secret list": [],
    "dn sandbox logs": ["any"],
}
FORWARDABLE = {
    "dn sandbox list": [],
    "dn sandbox usage": [],
    "dn sandbox get": ["any"],
    "dn session list": [],
    "dn session get": ["any"],
    "dn session export": ["any"],
}
REFUSED = {**FORWARDABLE, "dn capability list": []}


async def test_every_runtime_command_of_dn_ends_at_its_declared_route(tmp_path: Path) -> None:
    """This includes the other declared commands. Some commands that are not declared end at no route."""
    lines = {line.name: line for line in COMMANDS.calls}
    assert ARGUMENTS.keys() | FORWARDABLE.keys() | {"*"} == lines.keys()
    async with through_the_gateway() as side:
        connection = ["--server", side.url, "--api-key", side.key, "--organization", "acme"]
        commands = {name: [*name.split()[1:], *more, *connection] for name, more in (ARGUMENTS | REFUSED).items()}
        commands["dn login"] = ["login", side.key, "--server", side.url, "--organization", "acme"]
        (client,) = COMMANDS.clients
        known = await asked(client, tmp_path, commands=commands, mark=side.url)
        found = ended_at([name.replace(" ", ".") for name in commands], side.log)
    assert {f"dn runtime {name}" for name in known} == {name for name in lines if name.startswith("dn runtime ")}
    preliminary = found["dn.whoami"]  # every command first asks for the user, the organization and the workspace
    assert preliminary
    for name, operations in ((name.replace(".", " "), operations) for name, operations in found.items()):
        if name in REFUSED:
            assert operations - preliminary == {UNMATCHED}, name
        else:
            assert operations <= set(lines[name].routes), name
            assert operations - preliminary or name == "dn whoami", name


def test_declared_environments_are_those_of_the_pinned_clients() -> None:
    """Every pinned client of a provider has a declaration, and every declared environment has a pinned client."""
    declared = {client.environment for each in DECLARED.values() for client in each.clients} - {None}
    pinned = {path.stem for path in (ROOT / "config" / "clients").glob("*.in")}
    generators = {name for name in pinned if name.startswith("openapi-python-client")}
    assert generators
    assert declared == pinned - generators
