"""What the emulated platform accepts, as a table of its own: an emulator that shared the gateway's validation would
prove nothing. Types, bounds and defaults are those of seeds 000, 001 and 003 and of the platform's operation pages.

A check takes a value and gives it back normalised, with the defaults filled in, or notes what is wrong with it in the
form of the platform's ``errors`` items.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

Loc = tuple[str | int, ...]
ABSENT: Final = object()
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class Notes(list[dict[str, Any]]):
    """What is wrong with a request."""

    def note(self, loc: Loc, kind: str, msg: str) -> Any:
        """Add an item; gives ``ABSENT``, for the place of the value."""
        self.append({"loc": list(loc), "msg": msg, "type": kind})
        return ABSENT


Check = Callable[[Any, Loc, Notes], Any]


def text(least: int = 0, most: int | None = None, pattern: str | None = None) -> Check:
    """A string of so many characters."""

    def check(value: Any, loc: Loc, notes: Notes) -> Any:
        if not isinstance(value, str):
            return notes.note(loc, "string_type", "Input should be a valid string")
        if len(value) < least:
            return notes.note(loc, "string_too_short", f"String should have at least {least} characters")
        if most is not None and len(value) > most:
            return notes.note(loc, "string_too_long", f"String should have at most {most} characters")
        if pattern is not None and not re.fullmatch(pattern, value):
            return notes.note(loc, "string_pattern_mismatch", f"String should match pattern '{pattern}'")
        return value

    return check


def integer(least: int | None = None, most: int | None = None) -> Check:
    """A JSON integer; 1.0 is one."""

    def check(value: Any, loc: Loc, notes: Notes) -> Any:
        integral = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not integral:
            return notes.note(loc, "int_type", "Input should be a valid integer")
        if least is not None and value < least:
            return notes.note(loc, "greater_than_equal", f"Input should be greater than or equal to {least}")
        if most is not None and value > most:
            return notes.note(loc, "less_than_equal", f"Input should be less than or equal to {most}")
        return int(value)

    return check


def boolean(value: Any, loc: Loc, notes: Notes) -> Any:
    """true or false."""
    return value if isinstance(value, bool) else notes.note(loc, "bool_type", "Input should be a valid boolean")


def uuid(value: Any, loc: Loc, notes: Notes) -> Any:
    """A UUID, given back in lower case."""
    if isinstance(value, str) and _UUID.fullmatch(value):
        return value.lower()
    return notes.note(loc, "uuid_parsing", "Input should be a valid UUID")


def one_of(*allowed: str) -> Check:
    """One of these strings."""

    def check(value: Any, loc: Loc, notes: Notes) -> Any:
        if value in allowed:
            return value
        return notes.note(loc, "enum", f"Input should be {' or '.join(repr(one) for one in allowed)}")

    return check


def nullable(inner: Check) -> Check:
    """null, or what the inner check wants."""
    return lambda value, loc, notes: None if value is None else inner(value, loc, notes)


def list_of(inner: Check, most: int | None = None) -> Check:
    """An array."""

    def check(value: Any, loc: Loc, notes: Notes) -> Any:
        if not isinstance(value, list):
            return notes.note(loc, "list_type", "Input should be a valid list")
        if most is not None and len(value) > most:
            return notes.note(loc, "too_long", f"List should have at most {most} items")
        return [inner(item, (*loc, index), notes) for index, item in enumerate(value)]

    return check


def map_of(inner: Check) -> Check:
    """An object with any names."""

    def check(value: Any, loc: Loc, notes: Notes) -> Any:
        if not isinstance(value, dict):
            return notes.note(loc, "dict_type", "Input should be a valid dictionary")
        return {name: inner(item, (*loc, name), notes) for name, item in value.items()}

    return check


@dataclass(frozen=True, slots=True)
class Field:
    """A member of an object. ``default`` is what the platform fills in; ``ABSENT`` leaves the member out."""

    check: Check
    default: Any = ABSENT
    required: bool = False


def section(fields: Mapping[str, Field], *, open_: bool = False) -> Check:
    """An object of these members. ``open_`` keeps unknown members, otherwise they are refused."""

    def check(value: Any, loc: Loc, notes: Notes) -> Any:
        if not isinstance(value, dict):
            return notes.note(loc, "dict_type", "Input should be a valid dictionary")
        result = {}
        for name, field in fields.items():
            if name in value:
                found = field.check(value[name], (*loc, name), notes)
            elif field.required:
                found = notes.note((*loc, name), "missing", "Field required")
            else:
                found = field.default
            if found is not ABSENT:
                result[name] = found
        for name in value.keys() - fields.keys():
            if open_:
                result[name] = value[name]
            else:
                notes.note((*loc, name), "extra_forbidden", "Extra inputs are not permitted")
        return result

    return check


def _open(**fields: Field) -> Field:
    """A section of the config; when it is left out its own defaults stand for it."""
    check = section(fields, open_=True)
    return Field(check, check({}, (), Notes()))


_NAMED: Final = text(1)

CONFIG: Final = _open(
    version=Field(one_of("v2"), "v2"),
    build=_open(
        profile=Field(_NAMED, "default"),
        provider=Field(one_of("auto", "docker", "e2b", "opensandbox"), "auto"),
        source=_open(kind=Field(_NAMED, "builtin"), ref=Field(_NAMED, "runtime")),
    ),
    capabilities=Field(
        list_of(
            section(
                {
                    "name": Field(_NAMED, required=True),
                    "version": Field(nullable(_NAMED), None),
                    "enabled": Field(boolean, True),
                },
                open_=True,
            )
        ),
        [],
    ),
    defaults=_open(
        agent=Field(nullable(_NAMED), None),
        capability=Field(nullable(_NAMED), None),
        model=Field(nullable(_NAMED), None),
        system_prompt=Field(nullable(text()), None),
    ),
    metadata=_open(labels=Field(map_of(text()), {})),
    resources=_open(cpu_cores=Field(integer(1, 32), 2), memory_mb=Field(integer(), 2048)),
    runtime_server=_open(env=Field(map_of(text()), {})),
    sandbox=_open(
        exposed_ports=Field(list_of(integer(1, 65535)), []),
        timeout_seconds=Field(nullable(integer()), None),
        workspace_mount=Field(boolean, True),
        egress=Field(
            nullable(section({"allow": Field(list_of(_NAMED, most=50), required=True)}, open_=True)),
        ),
    ),
    secrets=_open(secret_ids=Field(list_of(uuid), [])),
).check
"""A whole config, version v2. Unknown members are kept: what the platform does with them is not documented."""

_LIMIT: Final = Field(nullable(integer(60)), None)
KEY: Final = text(1, 255, r"[^\s/]+")

CREATE: Final = section(
    {
        "project": Field(nullable(KEY), None),
        "key": Field(nullable(KEY), None),
        "name": Field(nullable(text(1, 100)), None),
        "description": Field(nullable(text(0, 500)), None),
        "config": Field(nullable(CONFIG), None),
        "requested_runtime_limit_seconds": _LIMIT,
    }
)
REPLACE_CONFIG: Final = section({"config": Field(CONFIG, required=True)})
START: Final = section({"secret_ids": Field(nullable(list_of(uuid)), None), "requested_runtime_limit_seconds": _LIMIT})
KEEPALIVE: Final = section({"extend_seconds": Field(integer(60, 3600), required=True)})
INSTALL: Final = section({"name": Field(_NAMED, required=True), "version": Field(nullable(_NAMED), None)})
PATCH: Final = section({"enabled": Field(boolean), "flags": Field(map_of(nullable(boolean))), "version": Field(_NAMED)})
PROJECT: Final = section(
    {
        "name": Field(text(1, 100), required=True),
        "key": Field(nullable(KEY), None),
        "description": Field(nullable(text()), None),
    },
    open_=True,
)


def limit(raw: str, notes: Notes) -> int:
    """The ``limit`` of a list."""
    if not re.fullmatch(r"-?\d{1,9}", raw, re.ASCII):
        notes.note(("query", "limit"), "int_parsing", "Input should be a valid integer")
        return 0
    checked = integer(1, 100)(int(raw), ("query", "limit"), notes)
    return 0 if checked is ABSENT else int(checked)
