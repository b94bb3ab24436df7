"""The JSON documents of creates in a plan: merge patches, differences, values that may be shown, and the references in
place of the secrets of an export (``{"$secret": NAME}``)."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.domain.errors import pointer
from gateway.domain.moves import Change
from gateway.ports.redaction import is_secret, without_secrets
from gateway.ports.sealing import Sealer

_HIDDEN: Final = "(secret)"
_MISSING: Final = object()
_SECTIONS: Final = frozenset({"config", "launch", "provider_options"})
"""The members whose own members are compared one by one."""

_REFERRING: Final = frozenset({"secrets", "secret_ids"})
"""Members that hold ids of secrets, not secrets."""

Path = tuple[str | int, ...]


def merged(document: Any, patch: Any) -> Any:
    """A document with a JSON Merge Patch (RFC 7396) applied."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(document) if isinstance(document, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """The values that differ, without those of secrets."""
    return [
        Change(pointer=pointer(*path), from_=shown(old, path), to=shown(new, path))
        for path, old, new in _differing(before, after, ())
    ]


def carried(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Pointers to the members that are equal."""
    equal: list[str] = []
    for name, value in before.items():
        other = after.get(name, _MISSING)
        if name in _SECTIONS and isinstance(value, Mapping) and isinstance(other, Mapping):
            equal += [pointer(name, inner) for inner in value if other.get(inner, _MISSING) == value[inner]]
        elif other == value:
            equal.append(pointer(name))
    return equal


def shown(value: Any, path: Path = ()) -> Any:
    """A value at a path of a create, without secrets; None for one that is absent."""
    if value is _MISSING or value is None:
        return None
    name = str(path[-1]) if path else ""
    if path[-2:-1] == ("env",) or (is_secret(name, value) and name not in _REFERRING):
        return _HIDDEN
    if isinstance(value, Mapping):
        return {name: shown(inner, (*path, name)) for name, inner in value.items()}
    if isinstance(value, list):
        return [shown(inner, (*path, index)) for index, inner in enumerate(value)]
    return without_secrets(value)


def _differing(before: Any, after: Any, at: Path) -> Iterator[tuple[Path, Any, Any]]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in dict.fromkeys([*before, *after]):
            yield from _differing(before.get(name, _MISSING), after.get(name, _MISSING), (*at, name))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, pair in enumerate(zip(before, after, strict=True)):
            yield from _differing(*pair, (*at, index))
    elif before != after:
        yield at, before, after


REFERENCE: Final = "$secret"
_NO_SECRETS: Final = frozenset({"secrets", "secret_ids"})
"""Members that hold ids of secrets, not secrets."""

_ENV: Final = "env"
_OTHER: Final = re.compile(r"[^A-Za-z0-9]+")
_DIGITS: Final = 12


def with_references(document: Mapping[str, Any], sealer: Sealer) -> dict[str, Any]:
    """A create with references in place of its secrets. Equal values of members of the same name have the same
    reference, which does not change while the gateway has the same key."""
    return {name: _referring(inner, (name,), sealer) for name, inner in document.items()}


def _referring(value: Any, path: tuple[str, ...], sealer: Sealer) -> Any:
    name = path[-1]
    hidden = path[-2:-1] == (_ENV,) or (is_secret(name, value) and name not in _NO_SECRETS)
    if isinstance(value, str) and (hidden or without_secrets(value) != value):
        return {REFERENCE: _name_of(name, value, sealer)}
    below = (_ENV, name) if hidden else path  # everything in a secret is one
    if isinstance(value, Mapping):
        at = (_ENV,) if hidden else path
        return {member: _referring(inner, (*at, member), sealer) for member, inner in value.items()}
    if isinstance(value, list):
        return [_referring(inner, below, sealer) for inner in value]
    return value


def _name_of(member: str, value: str, sealer: Sealer) -> str:
    """A name that an environment variable can have. The digest is keyed, so that guesses cannot be tested."""
    digest = sealer.digest("export", {"value": value}, sealer.digest_version).hex()
    return f"{_OTHER.sub('_', member)}_{digest[:_DIGITS]}".upper()


def filled(value: Any, secrets: Mapping[str, str], missing: set[str]) -> Any:
    """A create with the values of its references. The names of those without a value are added to ``missing``."""
    if isinstance(value, Mapping):
        name = value.get(REFERENCE)
        if len(value) == 1 and isinstance(name, str):
            if name not in secrets:
                missing.add(name)
            return secrets.get(name, "")
        return {member: filled(inner, secrets, missing) for member, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, secrets, missing) for inner in value]
    return value
