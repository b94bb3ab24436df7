"""The settings of the pass-through ``/native/{provider}/…``, and the rules that its patterns define."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field

from gateway.ports.section import Section

WEBSOCKET: Final = "WEBSOCKET"
"""The method of WebSockets in rules. A WebSocket starts as a GET, but it can do more than read."""

NEVER: Final = frozenset({"CONNECT", "TRACE"})
"""Methods that no rule allows: CONNECT is not a request to a resource, and TRACE responds with the credentials."""

_RULE: Final = re.compile(r"(?P<method>\*|[A-Z][A-Z-]{0,19}) (?P<path>/[\x21-\x7e]*)\Z")


@dataclass(frozen=True, slots=True)
class Rule:
    """One parsed pattern. A None in ``segments`` matches any one segment. ``open``: any further segments may follow."""

    method: str
    segments: tuple[str | None, ...]
    open: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``METHOD /path/pattern``. Raises ``ValueError`` that says what is wrong."""
        match = _RULE.match(text)
        if match is None:
            raise ValueError("a rule is METHOD /path, such as: GET /v1/browsers/*")
        method = match["method"]
        if method in NEVER:
            raise ValueError(f"{method} is never forwarded")
        path = match["path"]
        if "%" in path or "?" in path or "#" in path:
            raise ValueError("the path of a rule is plain text: no percent-encoding, no query")
        parts = _normal(path[1:].split("/"))
        is_open = bool(parts) and parts[-1] == "**"
        if is_open:
            parts = parts[:-1]
        for part in parts:
            if part in {"", ".", ".."}:
                raise ValueError("the path of a rule has no empty segment, no . and no ..")
            if "*" in part and part != "*":
                raise ValueError("* stands for one whole segment, and ** for any rest at the end")
        return cls(method, tuple(None if part == "*" else part for part in parts), is_open)

    def covers(self, segments: Sequence[str]) -> bool:
        """Whether the pattern matches the path."""
        mine = self.segments
        if not mine and self.open:
            return True
        if len(segments) < len(mine) or (len(segments) > len(mine) and not self.open):
            return False
        return all(part is None or part == segment for part, segment in zip(mine, segments, strict=False))


class Rules:
    """All rules of a provider. A request that no rule covers is not forwarded."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._by_method: dict[str, list[Rule]] = {}
        for pattern in patterns:
            rule = Rule.parse(pattern)
            self._by_method.setdefault(rule.method, []).append(rule)

    def allow(self, method: str, segments: Sequence[str]) -> bool:
        """Whether a request may be forwarded. ``method`` is the HTTP method, or :data:`WEBSOCKET`. ``segments`` are the
        decoded segments of the path. A trailing slash is ignored."""
        if method in NEVER:
            return False
        segments = _normal(segments)
        for name in (method, "*"):
            for rule in self._by_method.get(name, ()):
                if rule.covers(segments):
                    return True
        return False


def _normal(segments: Sequence[str]) -> Sequence[str]:
    return segments[:-1] if segments and segments[-1] == "" else segments


def _parseable(pattern: str) -> str:
    Rule.parse(pattern)
    return pattern


class NativeSettings(Section):
    """What may be passed through, and its limits. Sizes in bytes, times in seconds.

    ``answer_timeout`` is how long no byte may be transferred before the response begins; after that, ``read_timeout``
    applies. ``max_in_flight`` limits the concurrent exchanges, including streams and WebSockets; it is separate from
    the limits in ``policies``.
    """

    allow: list[Annotated[str, AfterValidator(_parseable)]] = ["GET /**", "HEAD /**"]
    max_body_bytes: Annotated[int, Field(ge=1024, le=1 << 40)] = 64 << 20
    answer_timeout: Annotated[float, Field(gt=0, le=3600)] = 30
    max_in_flight: Annotated[int, Field(ge=1, le=10_000)] = 100
