"""Every command of every page, pasted as a reader would: page by page, in their order, into one terminal.

A page that gets a command has it run here, or listed in ``tests/component/documented/not_run.py`` with the reason.
"""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.component.documented.not_run import NOT_RUN, exception
from tests.component.documented.pages import LANGUAGES, RUNNABLE, Statement, blocks, pages, statements
from tests.component.documented.reader import CALLED, PRINTS, THEN, reader
from tests.component.documented.warm import warm
from tests.component.documented.world import VARIABLES
from tests.component.moves.applied import at_once
from tests.component.processes import ROOT, clean_environment
from tests.programs import program

PROGRAMS: Final = {"curl", "pg_dump", "sqlite3"}
"""Programs that some machines do not have."""
RUN: Final = [page for page in pages() if any(exception(page, each.text) is None for each in statements(page))]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """One replica knows of an announced move at once."""
    at_once(monkeypatch)


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the settings of the pages take from the environment."""
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
    """``runtime-gateway``, without the time of its imports."""
    with warm(tmp_path_factory.mktemp("warm") / "socket", clean_environment()) as command:
        yield command


@pytest.mark.parametrize("page", RUN)
async def test_every_command_of_a_page_works_as_written(
    page: str, command: tuple[str, ...], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    first = {each.text.partition(" ")[0] for each in statements(page) if exception(page, each.text) is None}
    for name in first & PROGRAMS:
        program(name)
    if "pg_dump" in first:
        request.getfixturevalue("monkeypatch").setenv("STORE_URL", request.getfixturevalue("postgres").dsn())
    async with reader(page, tmp_path / "checkout", command) as at:
        for statement in statements(page):
            if exception(page, statement.text) is None:
                await at.follow(statement)
            else:
                assert not missing(statement, tmp_path / "checkout")


def test_every_exception_is_a_command_of_a_page() -> None:
    used = {exception(page, each.text) for page in pages() for each in statements(page)}
    assert NOT_RUN.keys() == used - {None}


@pytest.mark.parametrize("page", pages())
def test_every_block_says_what_it_is(page: str) -> None:
    """A block of commands that calls itself something else would not be run."""
    assert {block.language for block in blocks(page)} <= LANGUAGES | RUNNABLE


def missing(statement: Statement, checkout: Path) -> list[str]:
    """The files of a command that do not exist."""
    paths = re.findall(r"(?<![\w./])(?:config|tests)/[\w./-]+", statement.text)
    return [path for path in paths if not (checkout / path).exists()]


@pytest.mark.parametrize("page", sorted(set(pages()) - set(RUN)))
def test_files_of_commands_that_are_not_run_exist(page: str) -> None:
    assert [path for statement in statements(page) for path in missing(statement, ROOT)] == []


def test_targets_of_make_exist() -> None:
    texts = {each.text for page in pages() for each in statements(page) if each.text.startswith("make ")}
    for text in sorted(texts):
        ended = subprocess.run(["bash", "-c", f"make --dry-run {text[5:]}"], cwd=ROOT, capture_output=True, check=False)
        assert ended.returncode == 0, text + ended.stderr.decode()


def test_every_entry_about_an_output_is_about_a_command() -> None:
    for page, begin in (*PRINTS, *CALLED, *THEN):
        assert any(each.text.startswith(begin) for each in statements(page)), (page, begin)
