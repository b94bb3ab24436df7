"""The emulated platform's own validation. It shares no code with the gateway's, because tests against an emulator with
the same mistakes would pass. Types, bounds and defaults are those of the provider's documentation.

A check returns its value normalised and with the defaults filled in, or reports what is invalid in the form of the
platform's ``errors`` items.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

Loc = tuple[str | int, ...]
ABSENT: Final = object()
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class Issues(list[dict[str, Any]]):
    """The ``errors`` items for an invalid request."""

    def add(self, loc: Loc, kind: str, msg: str) -> Any:
        """Add an item. Returns ``ABSENT``, which takes the place of the invalid value."""
        self.append({"loc": list(loc), "msg": msg, "type": kind})
        return ABSENT


Check = Callable[[Any, Loc, Issues], Any]


def text(least: int = 0, most: int | None = None, pattern: str | None = None) -> Check:
    """A string of ``least`` to ``most`` characters that matches the whole ``pattern``."""

    def check(value: Any, loc: Loc, issues: Issues) -> Any:
        if not isinstance(value, str):
            return issues.add(loc, "string_type", "Input should be a valid string")
        if len(value) < least:
            return issues.add(loc, "string_too_short", f"String should have at least {least} characters")
        if most is not None and len(value) > most:
            return issues.add(loc, "string_too_long", f"String should have at most {most} characters")
        if pattern is not None and not re.fullmatch(pattern, value):
            return issues.add(loc, "string_pattern_mismatch", f"String should match pattern '{pattern}'")
        return value

    return check


def integer(least: int | None = None, most: int | None = None) -> Check:
    """A JSON integer from ``least`` to ``most``; 1.0 counts as an integer."""

    def check(value: Any, loc: Loc, issues: Issues) -> Any:
        integral = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not integral:
            return issues.add(loc, "int_type", "Input should be a valid integer")
        if least is not None and value < least:
            return issues.add(loc, "greater_than_equal", f"Input should be greater than or equal to {least}")
        if most is not None and value > most:
            return issues.add(loc, "less_than_equal", f"Input should be less than or equal to {most}")
        return int(value)

    return check


def boolean(value: Any, loc: Loc, issues: Issues) -> Any:
    """A boolean."""
    return value if isinstance(value, bool) else issues.add(loc, "bool_type", "Input should be a valid boolean")


def uuid(value: Any, loc: Loc, issues: Issues) -> Any:
    """A UUID, returned in lower case."""
    if isinstance(value, str) and _UUID.fullmatch(value):
        return value.lower()
    return issues.add(loc, "uuid_parsing", "Input should be a valid UUID")


def one_of(*allowed: str) -> Check:
    """One of these strings."""

    def check(value: Any, loc: Loc, issues: Issues) -> Any:
        if value in allowed:
            return value
        return issues.add(loc, "enum", f"Input should be {' or '.join(repr(one) for one in allowed)}")

    return check


def nullable(inner: Check) -> Check:
    """null, or a value that passes the inner check."""
    return lambda value, loc, issues: None if value is None else inner(value, loc, issues)


def list_of(inner: Check, most: int | None = None) -> Check:
    """An array of up to ``most`` items that pass the inner check."""

    def check(value: Any, loc: Loc, issues: Issues) -> Any:
        if not isinstance(value, list):
            return issues.add(loc, "list_type", "Input should be a valid list")
        if most is not None and len(value) > most:
            return issues.add(loc, "too_long", f"List should have at most {most} items")
        return [inner(item, (*loc, index), issues) for index, item in enumerate(value)]

    return check


def map_of(inner: Check) -> Check:
    """An object with any names, whose values pass the inner check."""

    def check(value: Any, loc: Loc, issues: Issues) -> Any:
        if not isinstance(value, dict):
            return issues.add(loc, "dict_type", "Input should be a valid dictionary")
        return {name: inner(item, (*loc, name), issues) for name, item in value.items()}

    return check


@dataclass(frozen=True, slots=True)
class Field:
    """A member of an object. The platform fills in ``default``; with ``ABSENT`` the member stays absent."""

    check: Check
    default: Any = ABSENT
    required: bool = False


def section(fields: Mapping[str, Field], *, open_: bool = False) -> Check:
    """An object with these members. Unknown members are kept if ``open_``, otherwise refused."""

    def check(value: Any, loc: Loc, issues: Issues) -> Any:
        if not isinstance(value, dict):
            return issues.add(loc, "dict_type", "Input should be a valid dictionary")
        result = {}
        for name, field in fields.items():
            if name in value:
                found = field.check(value[name], (*loc, name), issues)
            elif field.required:
                found = issues.add((*loc, name), "missing", "Field required")
            else:
                found = field.default
            if found is not ABSENT:
                result[name] = found
        for name in value.keys() - fields.keys():
            if open_:
                result[name] = value[name]
            else:
                issues.add((*loc, name), "extra_forbidden", "Extra inputs are not permitted")
        return result

    return check


def _open(**fields: Field) -> Field:
    """A section of the config. If absent, it is replaced by its own defaults."""
    check = section(fields, open_=True)
    return Field(check, check({}, (), Issues()))


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
"""A config of version v2. Unknown members are kept, because it is not documented what the platform does with them."""

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


def limit(raw: str, issues: Issues) -> int:
    """The ``limit`` of a list."""
    if not re.fullmatch(r"-?\d{1,9}", raw, re.ASCII):
        issues.add(("query", "limit"), "int_parsing", "Input should be a valid integer")
        return 0
    checked = integer(1, 100)(int(raw), ("query", "limit"), issues)
    return 0 if checked is ABSENT else int(checked)
