"""The help of every command has examples, and the documentation lists every command."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from gateway.cli import cli
from gateway.cli.failures import ExitCode

PAGE = (Path(__file__).parents[3] / "docs" / "cli.md").read_text(encoding="utf-8")


def commands(command: click.Command = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Yield the path of every group and command, and whether it is a command."""
    yield path, not isinstance(command, click.Group) or command.invoke_without_command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from commands(inner, (*path, name))


ALL = list(commands())
LEAVES = [" ".join(("runtime-gateway", *path)) for path, is_leaf in ALL if is_leaf]


@pytest.mark.parametrize("path", [path for path, _ in ALL], ids=" ".join)
def test_help_shows_an_example_of_its_own_command(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(cli, [*path, "--help"])
    assert result.exit_code == 0
    assert re.search(rf"^ +(\w+=\S+ )?runtime-gateway {' '.join(path)}", result.stdout, re.MULTILINE)


def test_page_lists_exactly_the_existing_commands() -> None:
    assert sorted(re.findall(r"^\| `(runtime-gateway [a-z ]+)` \|", PAGE, re.MULTILINE)) == sorted(LEAVES)


def test_page_lists_every_exit_code() -> None:
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)} == set(ExitCode)


@pytest.mark.parametrize("example", re.findall(r"runtime-gateway ([a-z][^|#`\n)]*)", PAGE))
def test_commands_and_options_on_the_page_exist(example: str) -> None:
    command: click.Command = cli
    words = example.split()
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        command = command.commands[words.pop(0)]
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if word.startswith("-") and word != "-"} <= known


def test_help_imports_no_heavy_library() -> None:
    code = (
        "import sys\n"
        "from gateway.cli import cli\n"
        "cli(['runtimes', 'create', '--help'], standalone_mode=False)\n"
        "heavy = {'aiohttp', 'pydantic', 'rich', 'ruamel.yaml', 'msgspec', 'gateway.app'} & sys.modules.keys()\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
