"""The heads of responses."""

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


def is_chunked(lines: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether ``chunked`` is the only transfer coding. The parser must agree, which does not know a tab after it."""
    codings = [value for name, value in lines if name.rstrip(b" \t").lower() == b"transfer-encoding"]
    return len(codings) == 1 and codings[0].strip(b" ").lower() == b"chunked"


def keep_alive_of(headers: CIMultiDict[str]) -> float | None:
    """The seconds of ``Keep-Alive: timeout=…``."""
    found = _TIMEOUT.search(headers.get("Keep-Alive", ""))
    return float(found[1]) if found else None
