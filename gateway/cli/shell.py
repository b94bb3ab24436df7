"""``completion``, ``help`` and ``version``."""

import click

from gateway import __version__
from gateway.cli.options import examples


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@examples("completion bash > ~/.local/share/bash-completion/completions/runtime-gateway")
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell, for commands, options, ids, names, providers, kinds and states."""
    from click.shell_completion import get_completion_class

    if (complete := get_completion_class(shell)) is not None:
        click.echo(complete(ctx.find_root().command, {}, "runtime-gateway", "_RUNTIME_GATEWAY_COMPLETE").source())


@click.command()
@examples("version")
def version() -> None:
    """Print the version."""
    click.echo(f"runtime-gateway {__version__}")


@click.command("help")
@click.argument("words", metavar="[COMMAND]...", nargs=-1)
@examples("help runtimes create")
@click.pass_context
def help_(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Show the help of a command."""
    shown = ctx.find_root()
    for word in words:
        found = shown.command.get_command(shown, word) if isinstance(shown.command, click.Group) else None
        if found is None:
            raise click.UsageError(f"There is no command {' '.join(words)}.")
        shown = click.Context(found, info_name=word, parent=shown)
    click.echo(shown.get_help())
