"""Makes every call of one of the providers' own clients, with invented arguments, and prints the names of the calls.

The interpreter of the client's environment runs this script. Before each call it sends a request to ``mark`` with the
name of the call as ``X-Request-ID``, so that the gateway's log shows which requests belong to the call. The result of a
call does not matter here. The only argument is JSON: ``{"module", "class", "options": {…}, "mark": …}``, or for ``dn``
``{"commands": {name: [argument, …]}, "mark": …}``. For ``dn`` the script runs these commands, and prints the names of
all commands for runtimes.
"""

import asyncio
import contextlib
import inspect
import json
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

OPTIONS = json.loads(sys.argv[1])
LOOP = asyncio.new_event_loop()
MADE_UP = {"int": 1, "float": 1.0, "bool": True, "dict": {}, "Mapping": {}, "list": [], "Sequence": [], "bytes": b"x"}


def operations(owner: Any, prefix: str = "", depth: int = 3) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the public methods of a client, and of the resources that are its attributes."""
    for name in dir(owner):
        if name.startswith(("_", "with_")):
            continue
        with contextlib.suppress(AttributeError):
            value = getattr(owner, name)
            if inspect.ismethod(value):
                yield prefix + name, value
            elif depth and type(value).__module__.startswith("bctrl"):
                yield from operations(value, f"{prefix}{name}.", depth - 1)


def arguments(call: Callable[..., Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return a value of roughly the right type for each required parameter: the positional and the named ones."""
    positional, named = [], {}
    for parameter in inspect.signature(call).parameters.values():
        if parameter.default is not parameter.empty or parameter.kind in {
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        }:
            continue
        annotation = str(parameter.annotation).replace("typing.", "").replace("t.", "")
        kind = annotation.removeprefix("<class '").partition("[")[0].removesuffix("'>")
        value = MADE_UP.get(kind, "x")
        if parameter.kind is parameter.KEYWORD_ONLY:
            named[parameter.name] = value
        else:
            positional.append(value)
    return positional, named


async def begin(stream: Any) -> None:
    """Read the first item of an asynchronous stream."""
    async for _ in stream:
        return


def make(call: Callable[..., Any]) -> None:
    """Make the call, and use its result as far as necessary for the request to be sent."""
    positional, named = arguments(call)
    result = call(*positional, **named)
    if inspect.isawaitable(result):
        result = LOOP.run_until_complete(result)
    if hasattr(result, "__aiter__"):
        LOOP.run_until_complete(begin(result))
    elif hasattr(result, "__enter__"):
        with result:
            pass
    elif inspect.isgenerator(result):
        next(result, None)


def mark(name: str) -> None:
    """Write the name of a call to the gateway's log, which has a line for every request, even for a failed one."""
    with contextlib.suppress(HTTPError), urlopen(Request(OPTIONS["mark"], headers={"X-Request-ID": name})):  # noqa: S310
        pass


def library() -> list[str]:
    """Make every call of a client, and return the names of the calls."""
    client = getattr(import_module(OPTIONS["module"]), OPTIONS["class"])(**OPTIONS["options"])
    made = []
    for name, call in operations(client):
        mark(name)
        with contextlib.suppress(Exception):
            make(call)
        made.append(name)
    return made


def command_line() -> list[str]:
    """Run the commands, and return the names of all commands for runtimes."""
    run = import_module("dreadnode.app.cli").run
    for name, command in OPTIONS["commands"].items():
        mark(name.replace(" ", "."))
        with contextlib.suppress(SystemExit), contextlib.redirect_stdout(sys.stderr):
            run(command)
    runtime = import_module("dreadnode.app.cli.runtime").cli
    known: dict[int, str] = {}
    for name in runtime:
        known.setdefault(id(runtime[name]), name)  # an alias follows the name that it stands for
    return [name for name in known.values() if not name.startswith("-")]


sys.stdout.write(json.dumps(command_line() if "commands" in OPTIONS else library()))
