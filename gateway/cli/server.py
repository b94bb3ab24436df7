"""The commands that run a server (the gateway, the demo, an emulator), and ``openapi``."""

import json
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.failures import ExitCode, Failure, one_line
from gateway.cli.faults import fault, findable
from gateway.cli.options import examples, given, output_option, pairs
from gateway.cli.output import show_document

if TYPE_CHECKING:
    from gateway.ports.plugin import AdapterPlugin
    from gateway.settings import LoadedSettings, SettingsError, SettingsSource, StoreSettings

config_option = click.option("--config", "-c", "file", required=True, type=click.Path(), help="The settings file.")
port_range = click.IntRange(0, 65535)


def source(file: str, overrides: Mapping[str, object] | None = None, workers: int = 1) -> "SettingsSource":
    """Return the source of this process's settings, which is one of ``workers``; ``overrides`` are flags by dotted
    path."""
    from gateway.app import dialect_eras, provider_models
    from gateway.settings import SettingsSource

    return SettingsSource(Path(file), provider_models(), overrides or {}, dialect_eras(), workers)


def load(file: str) -> "LoadedSettings":
    """Return the settings of this process. Raises ``SettingsError``."""
    return source(file).load()


def print_problems(error: "SettingsError") -> None:
    for problem in error.problems:
        click.echo(f"error: {one_line(problem)}", err=True)


@contextmanager
def exit_for_faults() -> Iterator[None]:
    """Exit with 78 for a ``SettingsError``, after printing every fault."""
    from gateway.settings import SettingsError

    try:
        yield
    except SettingsError as error:
        print_problems(error)
        sys.exit(ExitCode.SETTINGS)


@exit_for_faults()
def load_or_exit(file: str) -> "LoadedSettings":
    """Return the settings of this process. Exits as :func:`exit_for_faults`."""
    return load(file)


@exit_for_faults()
def store_settings(file: str) -> "StoreSettings":
    """Return the section ``store`` of a settings file, without reading the others. Exits as :func:`exit_for_faults`."""
    from gateway.settings import load_store_settings

    return load_store_settings(file)


def print_warnings(loaded: "LoadedSettings") -> None:
    for warning in loaded.warnings:
        click.echo(f"warning: {one_line(warning)}", err=True)


@contextmanager
def _listening() -> Iterator[None]:
    """End the command with one line if it cannot listen at its address, or cannot use its file."""
    try:
        yield
    except OSError as exc:
        if exc.filename is not None:
            raise Failure("cannot_use_file", f"{exc.filename}: {exc.strerror}") from exc
        raise Failure("cannot_listen", exc.strerror or str(exc)) from exc


@click.command()
@config_option
@click.option("--listen", metavar="HOST:PORT", help="The address to listen on, instead of http.listen.")
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Processes that serve, at the same addresses. More than one needs PostgreSQL.",
)
@click.option("--worker", "place", hidden=True, help="Given by the process that has started this worker.")
@examples("serve --config gateway.yaml", "serve --config gateway.yaml --listen 127.0.0.1:9000")
def serve(file: str, listen: str | None, workers: int, place: str | None) -> None:
    """Serve the API until SIGTERM or SIGINT.

    Exit code 78: the settings have faults, which are all reported at once. While the gateway runs, a changed settings
    file takes effect without a restart, and at once after SIGHUP.
    """
    from gateway.app import run

    with exit_for_faults(), _listening():
        worker = None if place is None else json.loads(place)
        overrides = {} if listen is None else {"http.listen": listen}
        origin = source(file, overrides if worker is None else {**overrides, **worker["settings"]}, workers)
        sys.exit(run(origin.load().settings, origin, worker))


def _demo_key(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    from gateway.settings import GatewayKey

    if value is not None:
        try:
            GatewayKey.model_validate({"key": value})
        except ValueError:
            raise click.BadParameter("a key must be 16 to 512 printable ASCII characters without spaces") from None
    return value


def _browser(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    if value not in {None, "auto", "none"} and shutil.which(str(value)) is None:
        raise click.BadParameter(f"{value} is not a program; the choices are auto, none and the path of a Chromium")
    return value


def _server(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    try:
        program = next(iter(shlex.split(value or "")), "")
    except ValueError as exc:
        raise click.BadParameter(one_line(str(exc))) from None
    if value not in {None, "small"} and shutil.which(program) is None:
        raise click.BadParameter(f"{program or 'nothing'} is not a program")
    return value


_browser_option = click.option(
    "--browser",
    callback=_browser,
    metavar="auto|none|PATH",
    help="The Chromium that bctrl_browsers runs for every running browser. Default: auto, one that is installed; "
    "without one a stub answers.",
)


_server_option = click.option(
    "--runtime-server",
    callback=_server,
    metavar="COMMAND",
    help="The program that durable runs for every sandbox, such as 'dn serve'. Default: small, a server that echoes.",
)


@click.group(invoke_without_command=True)
@click.option(
    "--port", type=port_range, default=8080, show_default=True, help="Port of the gateway; 0 selects a free port."
)
@click.option("--api-key", callback=_demo_key, help="The key that callers need. Default: a random key.")
@_browser_option
@_server_option
@examples("demo", "demo --port 9000 --api-key a-key-for-my-tests", "demo fault list")
@click.pass_context
def demo(ctx: click.Context, /, port: int, api_key: str | None, **options: str | None) -> None:
    """Run a gateway with emulated providers. It needs no configuration and keeps no data.

    Its data plane, the way into runtimes, is at the next port. `demo fault` lets the providers fail while it runs.
    """
    if ctx.invoked_subcommand is not None:
        return
    from gateway.demo import run_demo

    with _listening():
        sys.exit(run_demo(port=port, api_key=api_key, far_ends=given(options), found=findable))


demo.add_command(fault)


@click.command()
@click.argument("api", default="", metavar="API")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=port_range, default=8090, show_default=True, help="Port; 0 selects a free port.")
@click.option("--token", default="emulator-token", show_default=True, help="The only credential that it accepts.")
@click.option(
    "--personality",
    multiple=True,
    metavar="NAME=CHOICE",
    help="How it behaves where the real provider's behaviour is unknown. Repeatable.",
)
@_browser_option
@click.option("--max-browsers", type=click.IntRange(1), help="How many browsers run at once. Default: 8.")
@_server_option
@click.option(
    "--state",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file in which it keeps what it has created. Default: in memory only.",
)
def emulate(api: str, host: str, port: int, token: str, personality: tuple[str, ...], **options: Any) -> None:
    """Run a server that behaves like a provider API, for tests and experiments. Without API, the known ones are named.

    Requests to /__faults make it fail on purpose: POST adds a rule, or a list of rules, GET shows them and the names
    of all faults, DELETE removes them. Faults are delays, statuses, closed connections, damaged answers, late and
    repeated commits, lagging reads (list_lag, …), the answer of another request (other_answer) and an answer with
    another name or scope (other_name); those with "_after" at the end happen after the commit.

    \b
    Examples:
      runtime-gateway emulate durable
      curl localhost:8090/__faults -d '{"operation": "create", "fault": "other_answer_after", "times": 1}'
      runtime-gateway emulate bctrl --port 0 --personality live_alias=return
      runtime-gateway emulate durable --state durable.json
    """
    from gateway.app import plugins
    from gateway.demo import run_emulator

    known = plugins()
    if api not in known:
        fault = f"there is no emulator of {api!r}" if api else "name the provider API"
        raise click.BadParameter(f"{fault}; available: {', '.join(sorted(known))}", param_hint="API")
    choices = _choices(known[api], pairs(personality, "--personality"))
    chosen = given(options)
    if unknown := chosen.keys() - known[api].emulator_options:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(unknown))
        raise click.BadParameter(f"the emulator of {api} has no such option", param_hint=flags)
    with _listening():
        sys.exit(run_emulator(api, host=host, port=port, token=token, personality=choices, options=chosen))


def _choices(plugin: "AdapterPlugin", chosen: dict[str, str]) -> dict[str, str]:
    for name, choice in chosen.items():
        if choice not in plugin.personalities.get(name, ()):
            offered = "; ".join(f"{key}: {', '.join(values)}" for key, values in plugin.personalities.items())
            raise click.BadParameter(
                f"{plugin.api} has no personality {name}={choice}; available: {offered or 'none'}",
                param_hint="--personality",
            )
    return chosen


@click.command()
@output_option("json", "yaml")
@examples("openapi > openapi.json", "openapi -o yaml")
def openapi(output: str) -> None:
    """Print the OpenAPI document of the unified API."""
    from gateway.app import openapi_document

    document: dict[str, Any] = openapi_document()
    show_document(document, output)
