"""The options of commands that print what the API returns, and what they have in common."""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import click
from click.core import ParameterSource

from gateway.cli.connecting import CONNECTION, connection_of

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]

_OMITTED: Final = frozenset({"api_key", "idempotency_key", "output"})


def examples(*arguments: str) -> Decorator:
    """Return a decorator that adds command lines, written without ``runtime-gateway``, to the help."""

    def with_examples(command: Command) -> Command:
        if not arguments:
            return command
        lines = ["\b", "Example:" if len(arguments) == 1 else "Examples:"]
        lines += [f"  runtime-gateway {line}" for line in arguments]
        command.__doc__ = f"{inspect.getdoc(command)}\n\n" + "\n".join(lines)
        return command

    return with_examples


def connection_options(*lines: str) -> Decorator:
    """Return a decorator that adds ``--server``, ``--api-key`` and ``--context``, which the command receives as
    ``connection``, and :func:`examples`."""

    def connect(command: Command) -> Command:
        @functools.wraps(command)
        def connected(*args: Any, **kwargs: Any) -> Any:
            kwargs = {name: value for name, value in kwargs.items() if name not in CONNECTION}
            return command(*args, connection=connection_of(click.get_current_context()), **kwargs)

        for option in CONNECTION.values():
            connected = option(connected)
        return examples(*lines)(connected)

    return connect


def output_option(*choices: str) -> Decorator:
    """Return a decorator that adds ``-o``, and ``--query`` where a document can be printed. The first choice is the
    default."""

    def with_output(command: Command) -> Command:
        if "json" in choices:
            command = click.option(
                "--query",
                metavar="JMESPATH",
                is_eager=True,
                expose_value=False,
                callback=_query,
                help="Print this part of what -o json prints; without -o, values as text, one per line.",
            )(command)
        return click.option(
            "-o",
            "--output",
            type=click.Choice(choices),
            default=choices[0],
            show_default=True,
            callback=_output,
            help="The format of the result.",
        )(command)

    return with_output


any_output = output_option("table", "wide", "json", "yaml", "name")


def api_options(*lines: str) -> Decorator:
    """Return a decorator for a command that prints what the API returns: :func:`connection_options`, and ``-o``."""
    return lambda command: any_output(connection_options(*lines)(command))


def read_options(*lines: str) -> Decorator:
    """Return a decorator for a command that only reads: :func:`api_options`, and ``--watch``."""

    def readable(command: Command) -> Command:
        @click.option("--watch", "-w", is_flag=True, help="Print what is new or changes, until Ctrl-C.")
        @functools.wraps(command)
        def reading(*args: Any, watch: bool, **kwargs: Any) -> Any:
            if not watch:
                return command(*args, **kwargs)
            from gateway.cli.watching import repeat

            return repeat(functools.partial(command, *args, **kwargs))

        return api_options(*lines)(reading)

    return readable


def _query(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    """Compile the expression into the context, where the output finds it."""
    if value is None:
        return
    import jmespath

    from gateway.cli.output import QUERY

    try:
        ctx.meta[QUERY] = jmespath.compile(value)
    except jmespath.exceptions.JMESPathError as exc:
        raise click.BadParameter(" ".join(str(exc).split())) from exc


def _output(ctx: click.Context, param: click.Parameter, value: str) -> str:
    from gateway.cli.output import QUERY, VALUES

    if QUERY not in ctx.meta or value in {"json", "yaml"}:
        return value
    if ctx.get_parameter_source(str(param.name)) is ParameterSource.DEFAULT:
        return VALUES
    raise click.BadParameter("with --query only json and yaml are possible")


def query_of(filters: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the given options as query parameters, repeated ones as several."""
    return [
        (name, item)
        for name, value in filters.items()
        for item in (value if isinstance(value, tuple) else [value])
        if item is not None
    ]


def given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}


def typed(context: click.Context) -> Iterator[str]:
    """Yield the options of the running command that were given, but for keys, formats and the values of ``--set``."""
    for option in context.command.params:
        name = str(option.name)
        if name in _OMITTED or context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        value = context.params[name]
        for one in value if isinstance(value, tuple) else (value,):
            yield max(option.opts if one is not False else option.secondary_opts, key=len)
            if name == "assignments":
                yield f"{str(one).partition('=')[0]}=..."
            elif not isinstance(one, bool):
                yield "-" if getattr(one, "name", "") == "<stdin>" else str(getattr(one, "name", one))


def pairs(values: tuple[str, ...], option: str) -> dict[str, str]:
    """Return repeated ``KEY=VALUE`` options as a mapping. Raises a usage error for a value without ``=`` or a key."""
    found = {}
    for value in values:
        key, separator, text = value.partition("=")
        if not separator or not key:
            raise click.BadParameter(f"{value!r} is not KEY=VALUE", param_hint=option)
        found[key] = text
    return found
