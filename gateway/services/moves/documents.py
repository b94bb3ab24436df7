"""The JSON documents of creates in a plan: merge patches, differences, and values that may be shown."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.domain.errors import pointer
from gateway.domain.moves import Change
from gateway.ports.redaction import is_secret, without_secrets

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
