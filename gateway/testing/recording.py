"""What an emulator received, so that tests assert on what was really sent."""

import json
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

_CREDENTIALS: Final = frozenset({"authorization", "x-api-key", "cookie", "proxy-authorization"})


def parse_json(raw: bytes) -> Any:
    """Strict JSON: UTF-8, no NaN, no infinities. Raises ``ValueError`` also for what nests too deeply."""
    try:
        return json.loads(raw.decode(), parse_constant=_no_constant)
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


@dataclass(slots=True)
class Received:
    """One request. ``body`` is parsed JSON, text where it is none, and None where there is none; ``status`` is None
    while it is not answered as a whole. Header names are in lower case, credentials are left out."""

    number: int
    operation: str | None
    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: Any = None
    status: int | None = None

    def shown(self) -> dict[str, Any]:
        """As JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


class RequestLog:
    """The last requests, bounded, and the counts of all."""

    def __init__(self, kept: int) -> None:
        self._kept: deque[Received] = deque(maxlen=kept)
        self._number = 0
        self.per_operation: Counter[str] = Counter()

    def add(self, request: web.Request, operation: str | None) -> Received:
        """Note a request when its head is there."""
        self._number += 1
        self.per_operation[operation or "unknown"] += 1
        entry = Received(
            number=self._number,
            operation=operation,
            method=request.method,
            path=request.rel_url.raw_path,
            query=list(request.query.items()),
            headers={k.lower(): v for k, v in request.headers.items() if k.lower() not in _CREDENTIALS},
        )
        self._kept.append(entry)
        return entry

    def received(self, operation: str | None = None) -> list[Received]:
        """The requests that are kept, oldest first, all or those of one operation."""
        return [entry for entry in self._kept if operation in {None, entry.operation}]

    def clear(self) -> None:
        """Forget all, also the counts."""
        self._kept.clear()
        self._number = 0
        self.per_operation.clear()


def body_of(raw: bytes) -> Any:
    """A body as it is shown: parsed, or as text."""
    if not raw:
        return None
    try:
        return parse_json(raw)
    except ValueError:
        return raw.decode(errors="replace")
