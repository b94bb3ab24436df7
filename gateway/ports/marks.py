"""The gateway's own marks in a provider's JSON: how they are removed before a caller gets it."""

from collections.abc import Callable, Collection
from typing import Final

import msgspec

_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ROWS: Final = msgspec.json.Decoder(list[msgspec.Raw])


def unmarked(body: bytes, marks: Collection[str], within: Collection[str]) -> bytes:
    """A JSON object, or a list of objects, without the members ``marks`` of it and of its members ``within``, which may
    be nested. Everything else stays as the provider wrote it, byte for byte; other JSON is returned unchanged.

    Raises ``ValueError`` for text that is not JSON.
    """
    first = body.lstrip()[:1]
    if first not in {b"{", b"["} or not any(mark.encode() in body for mark in marks):
        return body
    if first == b"[":
        rows = [bytes(row) for row in _ROWS.decode(body)]
        clean = [unmarked(row, marks, within) for row in rows]
        return body if clean == rows else msgspec.json.encode(list(map(msgspec.Raw, clean)))
    members = {name: bytes(value) for name, value in _MEMBERS.decode(body).items()}
    kept = {
        name: unmarked(value, marks, within) if name in within else value
        for name, value in members.items()
        if name not in marks
    }
    return body if kept == members else msgspec.json.encode({name: msgspec.Raw(value) for name, value in kept.items()})


class OwnerMarks:
    """Opens the marks of the owners of one provider's runtimes.

    ``open`` takes a runtime's name at the provider and its mark, and returns the owner, or None for a mark that was not
    made for it. The fleet sets it.
    """

    def __init__(self) -> None:
        self.open: Callable[[str | None, object], str | None] = lambda _name, _mark: None
