"""The commands of every page of the repository: those of its blocks of shell code, and its scripts, in their order."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

from tests.component.processes import ROOT

LANGUAGES: Final = frozenset({"html", "http", "json", "nginx", "promql", "text", "yaml"})
"""What the other blocks of the pages are."""
SCRIPTS: Final = {"python": "python3 -", "js": "node --input-type=module -"}
RUNNABLE: Final = frozenset({"sh", "console", *SCRIPTS})
_FENCE: Final = re.compile(
    r"^(?P<indent> *)```(?P<language>\S*)[^\n]*\n(?P<code>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code of a page. ``page`` is the path of the file, ``line`` that of the block's first line."""

    page: str
    line: int
    language: str
    code: str


@dataclass(frozen=True, slots=True)
class Statement:
    """A command that a reader pastes, in the block at this line. ``shown`` is what the page shows as its output;
    ``None``: it shows nothing."""

    page: str
    block: int
    line: int
    text: str
    shown: str | None = None

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return f"{self.page}:{self.line}: {self.text}"


@cache
def pages() -> tuple[str, ...]:
    """Every page, by its path in the repository."""
    folders = ("docs", "adapters", "tests", ".github", "config", "benchmarks")
    found = [*ROOT.glob("*.md"), *(page for folder in folders for page in (ROOT / folder).rglob("*.md"))]
    return tuple(sorted(str(page.relative_to(ROOT)) for page in found))


def inline(page: str) -> set[str]:
    """The code within the text of a page."""
    return set(re.findall(r"`([^`\n]+)`", _FENCE.sub("", (ROOT / page).read_text("utf-8"))))


def blocks(page: str) -> Iterator[Block]:
    """The blocks of code of a page."""
    text = (ROOT / page).read_text("utf-8")
    for found in _FENCE.finditer(text):
        yield Block(page, text.count("\n", 0, found.start()) + 2, found["language"], found["code"])


@cache
def statements(page: str) -> tuple[Statement, ...]:
    """The commands of a page. A script is one command. Those of a session (``console``) have an output, which may be
    empty."""
    return tuple(statement for block in blocks(page) if block.language in RUNNABLE for statement in _statements(block))


def _statements(block: Block) -> Iterator[Statement]:
    if block.language in SCRIPTS:
        text = f"{SCRIPTS[block.language]} <<'END'\n{block.code}END"
        return iter([Statement(block.page, block.line, block.line, text)])
    return _of_session(block) if block.language == "console" else _of_code(block)


def _of_session(block: Block) -> Iterator[Statement]:
    lines = enumerate(block.code.splitlines(keepends=True), block.line)
    found: list[tuple[int, str, str]] = []
    for number, line in lines:
        if line.startswith("$ "):
            found.append((number, line[2:].rstrip("\n"), ""))
        else:
            assert found, f"{block.page}:{number}: output before the first command"
            found[-1] = (*found[-1][:2], found[-1][2] + line)
    for number, text, shown in found:
        yield Statement(block.page, block.line, number, text, shown)


def _of_code(block: Block) -> Iterator[Statement]:
    """Split shell code into its complete commands. Comments on their own and empty lines are left out."""
    text, start = "", block.line
    for number, line in enumerate(block.code.splitlines(), block.line):
        if not text and (not line.strip() or line.lstrip().startswith("#")):
            continue
        start = start if text else number
        text += line + "\n"
        if _complete(text):
            yield Statement(block.page, block.line, start, text.rstrip("\n"))
            text = ""
    assert not text, f"{block.page}:{start}: not valid shell: {text}"


def _complete(text: str) -> bool:
    if text.endswith("\\\n"):
        return False
    checked = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False, timeout=60)
    return checked.returncode == 0 and not checked.stderr
