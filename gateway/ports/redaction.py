"""What of a provider's response may be shown (docs/promises.md#p6): of its texts about a failure, all but the secrets
that it was sent; of the members that are not in the model, none whose name suggests a secret. Members that are in the
model are not checked here."""

import re
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

import msgspec
from pydantic import SecretStr

MAX_DEPTH: Final = 200
"""The maximum depth of a provider's JSON that is shown."""

MAX_DETAIL: Final = 4000
MAX_CODE: Final = 128
MAX_REQUEST_ID: Final = 128
"""The maximum length of a provider's message, code and request id that are shown, in characters."""

_SHORT: Final = 4
_SECRET: Final = re.compile("token|secret|password|credential|api_?key", re.IGNORECASE)
_USERINFO: Final = re.compile(r"(?<=://)[^/?#\s]*@")


def _revealed(value: Any) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    raise NotImplementedError(f"a request cannot carry a {type(value).__name__}")


REVEALING: Final = msgspec.json.Encoder(enc_hook=_revealed)
"""Encodes the body of a request to a provider, with the texts of its secrets."""


def is_secret(name: str, value: Any) -> bool:
    """Whether a member's name suggests a secret. Numbers and flags never do: ``aiTokensTotal``, ``hasPassword``."""
    return isinstance(value, str | list | dict) and _SECRET.search(name) is not None


def without_secrets(value: Any) -> Any:
    """A JSON value without secret members, at any depth, and without user name and password in URLs.

    Raises ``RecursionError`` for a value of more than :data:`MAX_DEPTH` levels: the limit is fixed, so that the result
    does not depend on the depth of the stack here, and every JSON reader can decode what is shown."""
    return _shown(value, MAX_DEPTH)


def _shown(value: Any, levels: int) -> Any:
    if isinstance(value, str):
        return _USERINFO.sub("", value)
    if isinstance(value, dict):
        levels = _one_less(levels)
        return {name: _shown(inner, levels) for name, inner in value.items() if not is_secret(name, inner)}
    if isinstance(value, list):
        levels = _one_less(levels)
        return [_shown(inner, levels) for inner in value]
    return value


def _one_less(levels: int) -> int:
    if levels == 0:
        raise RecursionError("nested too deeply to be shown")
    return levels - 1


def redacted(text: str, secrets: Iterable[str]) -> str:
    """``text`` with all secrets replaced, the longest first, because one may contain another. A secret that is too
    short to be replaced safely (less than 4 characters) replaces the whole text."""
    for secret in sorted(secrets, key=len, reverse=True):
        if secret and secret in text:
            text = text.replace(secret, "[redacted]") if len(secret) >= _SHORT else "[redacted]"
    return text


def short_redacted(text: str | None, secrets: Iterable[str], most: int) -> str | None:
    """The same; None for a text of more than ``most`` characters. It is not cut, because half a secret at its end would
    not be recognized."""
    return None if text is None or len(text) > most else redacted(text, secrets)


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
