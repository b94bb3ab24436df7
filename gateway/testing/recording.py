"""Records the requests that an emulator received, so that tests check what was really sent."""

import json
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

_CREDENTIALS: Final = frozenset({"authorization", "x-api-key", "cookie", "proxy-authorization"})


def parse_json(raw: bytes) -> Any:
    """Parse strict JSON: UTF-8, no NaN, no infinities. Raises ``ValueError``, also if it is nested too deeply."""
    try:
        return json.loads(raw.decode(), parse_constant=_no_constant)
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


@dataclass(slots=True)
class Received:
    """One request. ``body`` is parsed JSON, text if it is not JSON, or None without a body. ``status`` is None until
    the response is complete. Header names are in lower case; credentials are omitted."""

    number: int
    operation: str | None
    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: Any = None
    status: int | None = None

    def shown(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


class RequestLog:
    """The latest ``kept`` requests, and the counts of all requests."""

    def __init__(self, kept: int) -> None:
        self._kept: deque[Received] = deque(maxlen=kept)
        self._number = 0
        self.per_operation: Counter[str] = Counter()

    def add(self, request: web.Request, operation: str | None) -> Received:
        """Record a request once its headers were received."""
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
        """The kept requests, oldest first; all, or those of one operation."""
        return [entry for entry in self._kept if operation in {None, entry.operation}]

    def clear(self) -> None:
        self._kept.clear()
        self._number = 0
        self.per_operation.clear()


def body_of(raw: bytes) -> Any:
    """The value of :attr:`Received.body` for a body."""
    if not raw:
        return None
    try:
        return parse_json(raw)
    except ValueError:
        return raw.decode(errors="replace")
