"""The heads of requests and responses."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from multidict import CIMultiDict

_TIMEOUT: Final = re.compile(r"(?:^|[,;\s])timeout\s*=\s*\"?(\d{1,6})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """Bounds on the head of a response: ``max_bytes`` of all header lines together, ``max_headers`` of them."""

    max_bytes: int
    max_headers: int


def head_of(method: str, target: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """The head of a request. Raises ``ValueError`` for a line break or a zero byte in a name or value."""
    lines = [f"{method} {target} HTTP/1.1\r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in headers]
    head = "".join(lines)
    if head.count("\n") != len(lines) or head.count("\r") != len(lines) or "\0" in head:
        raise ValueError("a header has a line break or a zero byte")
    return (head + "\r\n").encode("utf-8", "surrogateescape")


def is_chunked(lines: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether ``chunked`` is the only transfer coding. The parser must agree, which does not know a tab after it."""
    codings = [value for name, value in lines if name.rstrip(b" \t").lower() == b"transfer-encoding"]
    return len(codings) == 1 and codings[0].strip(b" ").lower() == b"chunked"


def keep_alive_of(headers: CIMultiDict[str]) -> float | None:
    """The seconds of ``Keep-Alive: timeout=…``."""
    found = _TIMEOUT.search(headers.get("Keep-Alive", ""))
    return float(found[1]) if found else None
