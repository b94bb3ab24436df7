"""``demo fault``: faults of the emulators of a running demo, which a file of the user names."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import click

from gateway.cli import contexts
from gateway.cli.failures import Failure
from gateway.cli.options import CONNECTION, connection_of, examples, output_option
from gateway.cli.output import Column, note, show_document, show_list, show_one, table

Controls = Mapping[str, str]
"""The addresses of emulators' controls, by provider."""


class _Kind(NamedTuple):
    text: str
    rule: Mapping[str, Any]
    operation: str = "*"


KINDS: Final[Mapping[str, _Kind]] = {
    "lost-response": _Kind("The call is carried out, and its response is lost.", {"fault": "drop_after"}, "create"),
    "half-response": _Kind("The call is carried out, and its response is cut.", {"fault": "half_body"}, "create"),
    "late-create": _Kind(
        "The call fails with 504, and is carried out 5 s later.", {"fault": "commit_late", "seconds": 5}, "create"
    ),
    "late-list": _Kind("The next 3 lists do not show the new runtime.", {"fault": "list_lag", "reads": 3}, "create"),
    "hang": _Kind("The call is not carried out, and never answered.", {"fault": "hang"}),
    "slow": _Kind("The call is carried out 3 s late.", {"fault": "delay_before", "seconds": 3}),
    "error": _Kind("The call fails with 500.", {"fault": "status", "status": 500}),
    "rate-limit": _Kind(
        "The call is refused with 429, Retry-After: 5.", {"fault": "status", "status": 429, "retry_after": 5}
    ),
    "refuse": _Kind("Connections are refused, as if nothing ran there.", {"fault": "refuse"}),
}
"""The faults, in words."""

_OWN: Final[Mapping[str, Column]] = {
    "CALLS": lambda item: "all" if item["operation"] == "*" else item["operation"],
    "LEFT": lambda item: ", ".join(_left(item)) or "until cleared",
}
_SELECTING: Final = frozenset({"server", "control", "provider"})
_KINDS: Final = table("FAULT, CALLS, DESCRIPTION", own=_OWN)
_SET: Final = table("PROVIDER, FAULT, CALLS, LEFT", own=_OWN)


def _left(item: Mapping[str, Any]) -> Iterator[str]:
    if item["times_left"] is not None:
        yield f"{item['times_left']} x"
    if item["seconds_left"] is not None:
        yield f"{item['seconds_left']:.0f} s"


def file_of(server: str) -> Path:
    """The file in which the demo at ``server`` names its controls."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(runtime) / contexts.NAME if runtime else Path(click.get_app_dir(contexts.NAME))
    return folder / f"demo-{urlsplit(server).port}.json"


@contextmanager
def findable(server: str, controls: Controls) -> Iterator[None]:
    """Name the controls of the demo at ``server`` in a file while the context lasts, so that commands find them."""
    file = file_of(server)
    try:
        contexts.replace_file(file, controls)
    except OSError as exc:
        note(f"demo fault needs --control to find this demo, because {file} cannot be written: {exc.strerror}")
        yield
        return
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def _found(ctx: click.Context) -> Controls:
    """The controls that the options name. Raises :class:`Failure` if no demo has left any."""
    provider, control = ctx.params.get("provider"), ctx.params.get("control")
    if control is not None:
        return {provider or "emulator": control.removesuffix("/__faults")}
    server = connection_of(ctx).server
    try:
        known: dict[str, str] = json.loads(file_of(server).read_text("utf-8"))
    except (OSError, ValueError):
        raise _no_demo(server) from None
    if provider is not None and provider not in known:
        raise click.BadParameter(f"the demo has no {provider!r}; it has {', '.join(known)}", param_hint="PROVIDER")
    return {name: url for name, url in known.items() if provider in {None, name}}


def _no_demo(server: str) -> Failure:
    return Failure(
        "no_demo",
        f"no demo runs at {server}: start one with runtime-gateway demo, and paste the export line that it prints",
    )


def _complete(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    try:
        return [name for name in _found(ctx) if name.startswith(incomplete)]
    except click.ClickException:
        return []


def _on_controls(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that select a demo; the command receives ``controls``, of its provider if it has one."""

    @CONNECTION["server"]
    @click.option("--control", metavar="URL", help="The control address of one emulator, also of emulate.")
    @wraps(command)
    def controlling(**arguments: Any) -> Any:
        others = {name: value for name, value in arguments.items() if name not in _SELECTING}
        return command(controls=_found(click.get_current_context()), **others)

    return controlling


def _ask(controls: Controls, method: str, body: Any = None) -> dict[str, dict[str, Any]]:
    """Send one request to each of the controls, and return the answers by provider."""
    import asyncio

    import aiohttp

    async def asking() -> dict[str, dict[str, Any]]:
        answers = {}
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)) as session:
            for name, url in controls.items():
                async with session.request(method, f"{url}/__faults", json=body) as response:
                    answer = await response.json()
                    if not isinstance(answer, dict) or not answer.keys() & {"items", "ended", "detail"}:
                        raise ValueError("something else answers")
                    if response.status >= 400:
                        raise Failure("refused", str(answer.get("detail")))
                    answers[name] = answer
        return answers

    try:
        return asyncio.run(asking())
    except (aiohttp.ClientError, TimeoutError, ValueError) as exc:
        address = next(iter(controls.values()))
        raise Failure("no_emulator", f"no emulator answers at {address} ({exc}): has the demo ended?") from exc


def _items(answers: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The faults that can still happen."""
    items = [
        {
            "provider": provider,
            "fault": _name(rule),
            "operation": rule["operation"],
            "times_left": None if rule.get("times") is None else rule["times"] - rule["fired"],
            "seconds_left": rule.get("seconds_left"),
        }
        for provider, answer in answers.items()
        for rule in answer["items"]
    ]
    return [item for item in items if 0 not in (item["times_left"], item["seconds_left"])]


def _name(rule: Mapping[str, Any]) -> str:
    """What a rule is called here, else the emulator's own name of its fault."""
    named = (name for name, kind in KINDS.items() if kind.rule.items() <= rule.items())
    return next(named, str(rule["fault"]))


@click.group()
@examples("demo fault list", "demo fault set durable-demo lost-response", "demo fault clear")
def fault() -> None:
    """Let an emulated provider of a running demo fail, to see what the gateway makes of it.

    The demo is found by the address of its gateway (--server, RTGW_SERVER), on the machine where it runs.
    """


@fault.command("list")
@_on_controls
@output_option("table", "json", "yaml")
@examples("demo fault list", "demo fault list -o json")
def list_faults(controls: Controls, output: str) -> None:
    """Show the faults that there are, and those that are set now with what is left of them.

    The others of an emulator can be set at the addresses that the demo prints, see docs/architecture.md.
    """
    kinds = [{"fault": name, "operation": kind.operation, "description": kind.text} for name, kind in KINDS.items()]
    document = {"object": "list", "items": _items(_ask(controls, "GET")), "faults": kinds}
    if output != "table":
        show_document(document, output)
        return
    show_list({"items": kinds}, output, _KINDS)
    click.echo()
    if document["items"]:
        show_list(document, output, _SET)
    else:
        note("no fault is set")


@fault.command("set")
@click.argument("provider", shell_complete=_complete)
@click.argument("name", metavar="FAULT", type=click.Choice(list(KINDS)))
@click.option("--times", type=click.IntRange(1), help="On this many calls. Default: 1 for faults of creates.")
@click.option("--for", "duration", metavar="DURATION", help="For this time, such as 30s or 5m. Default: until cleared.")
@click.option("--operation", help="On these calls, such as list, get or start. Default: as demo fault list shows.")
@_on_controls
@output_option("table", "json", "yaml")
@examples(
    "demo fault set durable-demo lost-response",
    "demo fault set browsers-demo refuse --for 30s",
    "demo fault set browsers-demo error --operation list --times 3",
)
def set_fault(
    controls: Controls, name: str, times: int | None, duration: str | None, operation: str | None, output: str
) -> None:
    """Let a provider fail from now on, in addition to the faults that are set. `demo fault list` shows the faults."""
    kind = KINDS[name]
    rule = {**kind.rule, "operation": operation or kind.operation}
    if duration is not None:
        rule["lasts"] = _seconds(duration)
    if times is not None or (kind.operation == "create" and duration is None):
        rule["times"] = times or 1
    answers = _ask(controls, "POST", rule)
    show_one(_items(answers)[-1], output, _SET)


def _seconds(duration: str) -> int:
    from gateway.settings.allow import seconds_of

    seconds = seconds_of(duration)
    if not isinstance(seconds, int) or seconds < 1:
        raise click.BadParameter("expected a duration such as 30s or 5m", param_hint="--for")
    return seconds


@fault.command()
@click.argument("provider", required=False, shell_complete=_complete)
@_on_controls
@examples("demo fault clear", "demo fault clear browsers-demo")
def clear(controls: Controls) -> None:
    """End the faults of a provider, or of all."""
    for name, answer in _ask(controls, "DELETE").items():
        click.echo(f"{name}: {answer['ended']} cleared")
