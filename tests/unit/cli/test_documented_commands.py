"""Every command in the code blocks of the documentation exists, with its options and arguments, and is valid shell."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final

import click
import pytest

from gateway.cli import cli

ROOT: Final = Path(__file__).parents[3]
PAGES: Final = (*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md")
SEPARATORS: Final = frozenset("|&;()<>\n")
BLOCK: Final = re.compile(r"^```(sh|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> Iterator[str]:
    """The shell code of a page; of a session only what is typed."""
    for language, code in BLOCK.findall(page.read_text("utf-8")):
        lines = code.splitlines()
        yield code if language == "sh" else "\n".join(line[2:] for line in lines if line.startswith("$ "))


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_of_a_page_exist_with_their_options(page: Path) -> None:
    for code in blocks(page):
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


def test_every_block_is_valid_shell() -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    for page in PAGES:
        for code in blocks(page):
            ended = subprocess.run([bash, "-n"], input=code, capture_output=True, text=True, check=False, timeout=60)
            assert (ended.returncode, ended.stderr) == (0, ""), f"{page.name}: {code}"
