"""Compares what a command prints with what its page shows."""

import re
from typing import Final

_VOLATILE: Final = (
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "<uuid>"),
    (re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z"), "<time>"),
    (re.compile(r"(?<=  )\d+[smh]$", re.MULTILINE), "<age>"),
    (re.compile(r"\bbr_[0-9a-f]{20}\b"), "<id>"),
    (re.compile(r"(?<=://127\.0\.0\.1:)\d+"), "<port>"),
    (re.compile(r"\bAdqI2Fk…|\b[\w-]{100,}"), "<token>"),
    (re.compile(r"for \d+ s;"), "for <n> s;"),
    (re.compile(r"\bread (half-)?open\b"), "read open"),
)
"""What differs between runs."""
_FAILURE: Final = re.compile(r"^(?:error|incomplete): ", re.MULTILINE)


def without_volatile(text: str) -> str:
    """``text`` with values that differ between runs replaced, and columns without their widths."""
    for pattern, name in _VOLATILE:
        text = pattern.sub(name, text)
    return "\n".join(re.sub(r" {2,}", "  ", line.rstrip()) for line in text.splitlines())


def failure(shown: str) -> bool:
    """Whether the page shows that the command fails."""
    return _FAILURE.search(shown) is not None


def prints(output: str, shown: str, *, more: bool) -> bool:
    """Whether the output is what the page shows, where the line ``…`` stands for any lines. With ``more``, it may have
    further lines."""
    any_lines = r"(?:.*\n)*"
    lines = [any_lines if line == "…" else f"{re.escape(line)}\n" for line in without_volatile(shown).splitlines()]
    between = any_lines if more else ""
    pattern = between + between.join(lines) + between
    output = without_volatile(output)
    return re.fullmatch(pattern, f"{output}\n" if output else "") is not None
