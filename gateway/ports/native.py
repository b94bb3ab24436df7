"""What a provider lets through under ``/native/{provider}/…``: its settings, and the rules that its patterns mean."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

WEBSOCKET: Final = "WEBSOCKET"
"""What a rule calls a WebSocket: it begins as a GET, but reading is not all that it can do."""

NEVER: Final = frozenset({"CONNECT", "TRACE"})
"""Methods that no rule allows: the first is no request to a resource, the second answers with the credentials."""

_RULE: Final = re.compile(r"(?P<method>\*|[A-Z][A-Z-]{0,19}) (?P<path>/[\x21-\x7e]*)\Z")


@dataclass(frozen=True, slots=True)
class Rule:
    """One pattern, parsed. ``segments`` None stands for any one segment; ``open`` lets any rest follow."""

    method: str
    segments: tuple[str | None, ...]
    open: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """The rule that ``METHOD /path/pattern`` means. Raises ``ValueError`` with a sentence."""
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
        """Whether the path is one of the pattern's."""
        mine = self.segments
        if not mine and self.open:
            return True
        if len(segments) < len(mine) or (len(segments) > len(mine) and not self.open):
            return False
        return all(part is None or part == segment for part, segment in zip(mine, segments, strict=False))


class Rules:
    """All rules of a provider. What none of them covers is not forwarded."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._by_method: dict[str, list[Rule]] = {}
        for pattern in patterns:
            rule = Rule.parse(pattern)
            self._by_method.setdefault(rule.method, []).append(rule)

    def allow(self, method: str, segments: Sequence[str]) -> bool:
        """Whether a request may go through. ``method`` is that of HTTP, or :data:`WEBSOCKET`; ``segments`` are those of
        the path, decoded. A slash at the end makes no difference."""
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


class NativeSettings(BaseModel):
    """What may pass, and how much. Sizes in bytes, times in seconds.

    ``answer_timeout`` is for how long nothing may move until the answer begins; after that ``read_timeout`` counts.
    ``max_in_flight`` bounds the exchanges at once, streams and WebSockets included, apart from those of ``policies``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    allow: list[Annotated[str, AfterValidator(_parseable)]] = ["GET /**", "HEAD /**"]
    max_body_bytes: Annotated[int, Field(ge=1024, le=1 << 40)] = 64 << 20
    answer_timeout: Annotated[float, Field(gt=0, le=3600)] = 30
    max_in_flight: Annotated[int, Field(ge=1, le=10_000)] = 100
