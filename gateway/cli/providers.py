"""``providers``: the providers of the gateway, their features and their health."""

import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

import click

from gateway.cli.arguments import PROVIDERS
from gateway.cli.failures import ExitCode
from gateway.cli.options import Connection, api_options, examples, read_options
from gateway.cli.output import show_details, show_list, table

_COLUMNS: Final = table(
    "NAME, API, CREATES, HEALTH, TROUBLE",
    "KINDS, SCOPE",
    {
        "HEALTH": lambda item: (item.get("health") or {}).get("status"),
        "TROUBLE": lambda item: ", ".join(_trouble(item)) or None,
    },
    name="name",
)
_TEST_COLUMNS: Final = table("PROVIDER", name="provider")


def _trouble(item: Mapping[str, Any]) -> Iterator[str]:
    """Yield what limits the use of a provider: rejected credentials, and breakers that are not closed."""
    if (item.get("health") or {}).get("credentials_ok") is False:
        yield "credentials rejected"
    for work, policy in (item.get("policies") or {}).items():
        state = policy.get("breaker")
        if state in {"open", "half_open"}:
            yield f"{work} {state.replace('_', '-')}"


@click.group()
@examples("providers list")
def providers() -> None:
    """Show the providers of the gateway with their features and health, or test one."""


@providers.command("list")
@read_options("providers list", "providers list -o name")
def list_providers(connection: Connection, output: str) -> None:
    """List the providers with their problems, in the order of the settings.

    CREATES are the kinds of runtimes that a provider can create, KINDS (-o wide) those that it lists.
    TROUBLE shows rejected credentials, and each class of work (read, create, start, release) whose circuit breaker is
    open or half-open. `providers get` shows the details.
    """
    show_list(connection.call("GET", "providers"), output, _COLUMNS)


@providers.command()
@click.argument("name", **PROVIDERS)
@read_options("providers get durable-demo", "providers get durable-demo -o json")
def get(connection: Connection, name: str, output: str) -> None:
    """Show one provider: its features, its health, and the limits and circuit breaker of each class of work."""
    show_details(connection.call("GET", "providers", name), output, _COLUMNS)


@providers.command()
@click.argument("name", **PROVIDERS)
@click.option("--config", "-c", "file", type=click.Path(), help="Call the provider directly, with this settings file.")
@api_options("providers test durable-main --config gateway.yaml", "providers test durable-demo")
def test(connection: Connection, name: str, file: str | None, output: str) -> None:
    """Test whether a provider responds and accepts the gateway's credentials.

    With --config the command calls the provider now, with the credentials of that file; no gateway needs to run.
    Without it, a running gateway returns the result of its last regular health check. Exit code 0: the provider is
    healthy; 4: it rejects the credentials; 1: it fails, or has not been checked yet.
    """
    if file is not None:
        _test_directly(file, name, output)
        return
    health: dict[str, Any] = connection.call("GET", "providers", name)["health"]
    show_details({"provider": name, **health}, output, _TEST_COLUMNS)
    if health["credentials_ok"] is False:
        sys.exit(ExitCode.AUTH)
    if health["status"] != "ok":
        sys.exit(ExitCode.FAILED)


def _test_directly(file: str, name: str, output: str) -> None:
    from gateway.cli.credentials import check_credentials, print_checks
    from gateway.cli.server import load_or_exit

    settings = load_or_exit(file).settings
    if name not in settings.providers:
        known = ", ".join(settings.providers)
        raise click.BadParameter(f"there is no provider {name!r}; available: {known}", param_hint="NAME")
    print_checks(check_credentials(settings, [name]), output)
