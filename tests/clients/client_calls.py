"""Makes every call that one of the providers' own clients has, with made-up arguments, and prints their names.

Run by the interpreter that has the client. Before each call a request with its name as ``X-Request-ID`` goes to
``mark``, so that the gateway's log tells which requests were its own. What a call ends with does not matter here.
``{"module", "class", "options": {…}, "mark": …}``, or for ``dn`` ``{"commands": {name: [argument, …]}, "mark": …}``:
then those are run, and printed are the names of all commands for runtimes.
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
    """The public methods of a client and of the resources that are its attributes."""
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
    """Something for everything that has to be given, of about the right type."""
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
    """Ask an asynchronous stream for what it begins with."""
    async for _ in stream:
        return


def make(call: Callable[..., Any]) -> None:
    """The call, and as much of its result as it takes for the request to go out."""
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
    """Leave the name of a call in the gateway's log, which tells of every request, whatever becomes of it."""
    with contextlib.suppress(HTTPError), urlopen(Request(OPTIONS["mark"], headers={"X-Request-ID": name})):  # noqa: S310
        pass


def library() -> list[str]:
    """Make every call of a client."""
    client = getattr(import_module(OPTIONS["module"]), OPTIONS["class"])(**OPTIONS["options"])
    made = []
    for name, call in operations(client):
        mark(name)
        with contextlib.suppress(Exception):
            make(call)
        made.append(name)
    return made


def command_line() -> list[str]:
    """Run commands."""
    run = import_module("dreadnode.app.cli").run
    for name, command in OPTIONS["commands"].items():
        mark(name.replace(" ", "."))
        with contextlib.suppress(SystemExit), contextlib.redirect_stdout(sys.stderr):
            run(command)
    runtime = import_module("dreadnode.app.cli.runtime").cli
    known: dict[int, str] = {}
    for name in runtime:
        known.setdefault(id(runtime[name]), name)  # an alias comes after the name that it is for
    return [name for name in known.values() if not name.startswith("-")]


sys.stdout.write(json.dumps(command_line() if "commands" in OPTIONS else library()))
