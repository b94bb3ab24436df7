"""The command line ``runtime-gateway``. A command imports its dependencies when it runs, so that ``--help`` is fast."""

from typing import Any

import click
from click.exceptions import NoArgsIsHelpError

from gateway import __version__
from gateway.cli.audit import audit
from gateway.cli.capabilities import capabilities, runtime_config
from gateway.cli.config import config
from gateway.cli.db import db
from gateway.cli.exporting import export, import_
from gateway.cli.failures import ExitCode, Failure
from gateway.cli.intents import intents
from gateway.cli.keys import keys, owners, principals
from gateway.cli.lifecycle import LIFECYCLE_COMMANDS
from gateway.cli.login import context, login
from gateway.cli.migrate import migrate
from gateway.cli.providers import providers
from gateway.cli.runtimes import runtimes
from gateway.cli.server import demo, emulate, openapi, serve
from gateway.cli.shell import completion, help_, version
from gateway.cli.usage import usage
from gateway.ports.distribution import AdapterFolderError


class _Commands(click.Group):
    """Ends a command with 78 and one line if the adapter folders cannot be used, and a group without a command with
    its help and 0."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args if args or ctx.resilient_parsing else ["--help"])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except AdapterFolderError as error:
            raise Failure("adapter_folder", str(error), exit_code=ExitCode.SETTINGS) from error
        except NoArgsIsHelpError as bare:
            click.echo(bare.message)
            return None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="runtime-gateway", message="%(prog)s %(version)s")
def cli() -> None:
    """One HTTP API in front of every provider of agent runtimes.

    \b
    Try the gateway with emulated providers, without any configuration:
      runtime-gateway demo
    Run the gateway for your own providers:
      runtime-gateway serve --config gateway.yaml
    Use a running gateway (login, or RTGW_SERVER and RTGW_API_KEY, select it):
      runtime-gateway login --server https://gateway.example
      runtime-gateway runtimes list
    Inspect the gateway's store:
      runtime-gateway intents list --config gateway.yaml --state parked
    """


for _command in (
    serve,
    demo,
    emulate,
    config,
    openapi,
    runtimes,
    providers,
    keys,
    principals,
    owners,
    db,
    intents,
    migrate,
    audit,
    usage,
    export,
    import_,
    login,
    context,
    completion,
    help_,
    version,
):
    cli.add_command(_command)
for _command in (*LIFECYCLE_COMMANDS, runtime_config, capabilities):
    runtimes.add_command(_command)


def main() -> None:
    cli(prog_name="runtime-gateway")
