"""The types of an emulator's routes (call, answer, refusal), the rules for bodies, and personalities: the choices where
the behaviour of the provider is not known."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ValidationError

from gateway.testing.recording import parse_json
from gateway.testing.waiting import Unseen


def timestamp(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339 in UTC, with microseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer. ``body`` is JSON, or None for no body; with a ``content_type`` it is text that is sent unchanged.
    ``created`` is the id of the runtime that this call created: the call counts as a create, and the faults
    ``list_lag`` and ``get_lag`` hide that runtime."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str | None = None
    created: str | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """A runtime that exists. ``live``: it holds its name, with or without compute; a permanently stopped or failed one
    does not. ``marker`` is the marker of its create, ``key`` the idempotency key of its create."""

    id: str
    name: str
    scope: str
    live: bool
    marker: str | None = None
    key: str | None = None


class Refusal(Exception):
    """The call is refused with this answer and changes nothing."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"answered with {answer.status}")
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an operation.

    ``path`` holds the decoded path parameters, ``query`` the decoded pairs in order, ``caller`` the result of
    ``Emulator.authenticate``. ``repeated`` is set when a fault commits a second time: the handler must then create
    another runtime even where it would recognise a repeated request.
    """

    operation: str
    path: Mapping[str, str]
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    raw: bytes
    caller: str
    unseen: Unseen
    bad_json: Callable[[str], Answer]
    repeated: bool = False

    def parameter(self, name: str) -> str | None:
        """The value of the first query parameter with this name; None if it is missing."""
        return next((value for key, value in self.query if key == name), None)

    def parameters(self, name: str) -> list[str]:
        """The values of all query parameters with this name."""
        return [value for key, value in self.query if key == name]

    def json(self) -> Any:
        """The parsed body, or None without a body. Raises :class:`Refusal` if it is not JSON."""
        if not self.raw:
            return None
        try:
            return parse_json(self.raw)
        except ValueError as exc:
            raise Refusal(self.bad_json(str(exc))) from exc


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the provider's API. Several routes may belong to one operation."""

    operation: str
    method: str
    path: str
    handle: Callable[[Call], Answer]


def _integral(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Integer = Annotated[int, BeforeValidator(_integral)]
"""An integer as JSON Schema defines it: ``1.0`` is one; in a strict model ``true`` is not."""


def fault(body: Any, model: type[BaseModel]) -> str | None:
    """The first fault of a body, None for a valid one."""
    try:
        model.model_validate(body)
    except ValidationError as exc:
        first = exc.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'the body'} is not valid: {first['msg']}"
    return None


def personality_of(choices: Mapping[str, tuple[str, ...]], chosen: Mapping[str, str] | None) -> Mapping[str, str]:
    """The value of every personality in ``choices``: the one in ``chosen``, else the first, which is the default.

    Raises ``ValueError`` for a name or a value that ``choices`` does not have.
    """
    chosen = chosen or {}
    for name, value in chosen.items():
        if value not in choices.get(name, ()):
            offered = "; ".join(f"{known}: {', '.join(values)}" for known, values in choices.items())
            raise ValueError(f"this emulator has no personality {name}={value}; it has {offered or 'none'}")
    return {name: chosen.get(name, values[0]) for name, values in choices.items()}
