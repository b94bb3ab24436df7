"""Every command of the documentation, in blocks of code and within the text, exists with its options and arguments."""

import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import click
import pytest

from gateway.cli import cli
from tests.component.documented.pages import inline, pages, statements

SEPARATORS: Final = frozenset("|&;()<>\n")
PAGES: Final = [page for page in pages() if page != "CHANGELOG.md"]
"""The pages about the present commands."""


def commands(code: str) -> Iterator[list[str]]:
    """The arguments of each ``runtime-gateway`` in shell code."""
    code = re.sub(r"(^|\s)#.*$", "", code.replace("\\\n", " "), flags=re.MULTILINE)
    lexer = shlex.shlex(code, posix=True, punctuation_chars="".join(SEPARATORS))
    lexer.whitespace, lexer.whitespace_split = " \t", True
    words = ["\n", *lexer, "\n"]
    for at, (before, word) in enumerate(pairwise(words), 1):
        if word == "runtime-gateway" and (before in {"xargs", "$"} or "=" in before or set(before) <= SEPARATORS):
            ends = (end for end in range(at, len(words)) if set(words[end]) <= SEPARATORS)
            yield words[at + 1 : next(ends)]


def check(arguments: list[str]) -> None:
    """Raise what ``click`` raises for arguments that the command does not take."""
    command: click.Command = cli
    context = click.Context(command, info_name="runtime-gateway")
    rest = arguments
    while isinstance(command, click.Group):
        _, rest, _ = command.make_parser(context).parse_args(rest)
        if not rest:
            return
        _, found, rest = command.resolve_command(context, rest)
        assert found is not None
        command, context = found, click.Context(found, info_name=found.name, parent=context)
    _, left, _ = command.make_parser(context).parse_args(rest)
    if left:
        raise click.UsageError(f"Unexpected arguments: {left}")


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_a_page_exist_with_their_options(page: str) -> None:
    """Those within the text too, which may lack arguments."""
    for code in [*(statement.text for statement in statements(page)), *inline(page)]:
        for arguments in commands(code):
            try:
                check(arguments)
            except click.UsageError as error:
                pytest.fail(f"{shlex.join(arguments)}: {error.format_message()}")


@pytest.mark.parametrize(
    "line", ["runtime-gateway runtimes lst", "true | runtime-gateway runtimes list --kindd x", "runtime-gateway demo x"]
)
def test_command_that_does_not_exist_is_detected(line: str) -> None:
    (arguments,) = commands(line)
    with pytest.raises(click.UsageError):
        check(arguments)


def test_commands_are_found_in_pipes_and_substitutions() -> None:
    code = "A=$(runtime-gateway a \\\n  -b) # runtime-gateway c\nruntime-gateway d 'e f' > g | xargs runtime-gateway h"
    assert list(commands(f"{code}\njournalctl -u runtime-gateway -o cat")) == [["a", "-b"], ["d", "e f"], ["h"]]
