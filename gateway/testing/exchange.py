"""What an emulator's routes take and give."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from gateway.testing.recording import parse_json
from gateway.testing.waiting import Unseen


def timestamp(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339 in UTC, with microseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered. ``body`` is JSON, or None for no body; with a ``content_type`` it is text to be sent as it is.
    ``created`` is the id of what this call made: it counts as a create, and list and GET lag work on it."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str | None = None
    created: str | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """A runtime that exists. ``live``: it holds its name, whether or not it has compute; one that was stopped for good
    or has failed does not. ``marker`` is what its create was marked with, ``key`` the idempotency key that it came
    under."""

    id: str
    name: str
    scope: str
    live: bool
    marker: str | None = None
    key: str | None = None


class Refusal(Exception):
    """The call is refused with this answer, and nothing was changed."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"answered with {answer.status}")
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an operation.

    ``path`` holds the decoded path parameters, ``query`` the decoded pairs in their order, ``caller`` what
    ``Emulator.authenticate`` answered. ``repeated`` is set when a fault commits a second time: what the provider would
    otherwise recognise as the same is then to be made anew.
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
        """The first query parameter of this name."""
        return next((value for key, value in self.query if key == name), None)

    def parameters(self, name: str) -> list[str]:
        """All query parameters of this name."""
        return [value for key, value in self.query if key == name]

    def json(self) -> Any:
        """The parsed body, None when there is none. Raises :class:`Refusal` for what is not JSON."""
        if not self.raw:
            return None
        try:
            return parse_json(self.raw)
        except ValueError as exc:
            raise Refusal(self.bad_json(str(exc))) from exc


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the provider's API. Several routes may be one operation."""

    operation: str
    method: str
    path: str
    handle: Callable[[Call], Answer]
