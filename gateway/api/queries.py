"""Query parameters, declared once for the parser and the OpenAPI document."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_plus

from gateway.domain.errors import FieldError, InvalidRequest
from gateway.domain.intents import IntentState
from gateway.domain.moves import ItemState
from gateway.domain.pages import ListFilter
from gateway.domain.values import OWNER_PATTERN, PROVIDER_NAME_PATTERN, Kind, State
from gateway.services.intents.records import RecordQuery
from gateway.services.listing import ListQuery


@dataclass(frozen=True, slots=True)
class QueryParameter:
    """One parameter. ``accepts`` checks one decoded value, ``expected`` completes the sentence "This has to be …",
    ``schema`` is the JSON schema of one value; ``many``: may be repeated, and with ``joined`` values may be joined with
    commas."""

    name: str
    description: str
    schema: Mapping[str, Any]
    accepts: Callable[[str], bool]
    expected: str
    many: bool = False
    joined: bool = True


def _pattern(name: str, description: str, pattern: str, expected: str, *, many: bool = False) -> QueryParameter:
    compiled = re.compile(pattern.removesuffix("$") + r"\Z")
    schema = {"type": "string", "pattern": pattern}
    return QueryParameter(name, description, schema, lambda value: compiled.match(value) is not None, expected, many)


def text_parameter(name: str, description: str, longest: int, expected: str) -> QueryParameter:
    """A parameter with printable text of 1 to ``longest`` characters."""
    schema = {"type": "string", "minLength": 1, "maxLength": longest}
    return QueryParameter(name, description, schema, partial(_is_text, longest), expected)


def _is_text(longest: int, value: str) -> bool:
    return 0 < len(value) <= longest and value.isprintable()


def _one_of(name: str, description: str, values: Sequence[str], *, many: bool = False) -> QueryParameter:
    known = frozenset(values)
    expected = f"one of: {', '.join(values)}" if len(values) > 1 else values[0]
    return QueryParameter(
        name, description, {"type": "string", "enum": list(values)}, known.__contains__, expected, many
    )


_LONGEST_NAME: Final = 1000  # of a runtime that was made without the gateway
_LIMIT: Final = re.compile(r"[0-9]{1,3}\Z", re.ASCII)

LEFT_OUT: Final = ("provider_state", "actions", "cost", "durable", "browser", "provider_data")
"""The members of a runtime that a list can leave out."""

LIST_PARAMETERS: Final = (
    _one_of("kind", "Only runtimes of these kinds.", [kind.value for kind in Kind], many=True),
    _pattern(
        "provider",
        "Only these providers, by name; the others are not asked.",
        PROVIDER_NAME_PATTERN,
        "the name of a provider",
        many=True,
    ),
    QueryParameter(
        "scope",
        "Only these scopes. An open provider is only asked for scopes that are named here.",
        {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[^,]+$"},
        partial(_is_text, 200),
        "a scope of at most 200 characters",
        many=True,
    ),
    _one_of("state", "Only runtimes in these states.", [state.value for state in State], many=True),
    QueryParameter(
        "name",
        "Only runtimes of this name, also one that a create would refuse.",
        {"type": "string", "minLength": 1, "maxLength": _LONGEST_NAME},
        lambda value: 0 < len(value) <= _LONGEST_NAME,
        f"a name of at most {_LONGEST_NAME} characters",
    ),
    text_parameter(
        "project", "Only durable runtimes of this project, by its key or UUID.", 200, "a project's key or UUID"
    ),
    _pattern(
        "owner",
        "Only runtimes of this owner, a principal or a group; me: of the caller.",
        OWNER_PATTERN,
        "the name of an owner, or me",
    ),
    QueryParameter(
        "label",
        "Only runtimes with this label, key=value. Repeat it for runtimes with several labels.",
        {"type": "string", "minLength": 2, "maxLength": 1000, "pattern": "^[^=]+="},
        lambda value: "=" in value[1:1000] and value[0] != "=" and len(value) <= 1000,
        "key=value, of at most 1000 characters",
        many=True,
        joined=False,
    ),
    _one_of(
        "fields",
        "Members to leave out of the runtimes, each with a minus sign: -actions makes a page about 40 % smaller.",
        [f"-{name}" for name in LEFT_OUT],
        many=True,
    ),
    _one_of("partial", "deny: if a provider fails, the whole list fails with 503.", ["allow", "deny"]),
    QueryParameter(
        "limit",
        "Maximum number of runtimes on a page, unless a provider returns more than it was asked for.",
        {"type": "integer", "minimum": 1, "maximum": 100, "default": 50},
        lambda value: _LIMIT.match(value) is not None and 1 <= int(value) <= 100,
        "a whole number from 1 to 100",
    ),
    text_parameter(
        "cursor",
        "next_cursor of the previous page, unchanged and with the same filters.",
        8000,
        "the next_cursor of another page",
    ),
)
"""The parameters of ``GET /v1/runtimes``."""

_BY_NAME: Final = {parameter.name: parameter for parameter in LIST_PARAMETERS}

INTENT_PARAMETERS: Final = (
    _one_of("state", "Only intents in these states.", [state.value for state in IntentState], many=True),
    text_parameter(
        "principal",
        "Only the creates of this principal. Another than the caller's own needs the scope admin.",
        400,
        "the name of a principal",
    ),
    replace(_BY_NAME["provider"], description="Only the creates that were sent to these providers."),
    replace(_BY_NAME["limit"], description="Maximum number of intents on a page."),
    _BY_NAME["cursor"],
)
"""The parameters of ``GET /v1/intents``."""

MOVE_PARAMETERS: Final = (
    replace(_BY_NAME["limit"], description="Maximum number of moves or items on a page."),
    _BY_NAME["cursor"],
)
"""The parameters of ``GET /v1/moves``."""

MOVE_ITEM_PARAMETERS: Final = (
    _one_of("state", "Only items in these states.", [state.value for state in ItemState], many=True),
    *MOVE_PARAMETERS,
)
"""The parameters of ``GET /v1/moves/{id}/items``."""

_WAIT: Final = QueryParameter(
    "wait",
    "For how many seconds to wait for the final response.",
    {"type": "integer", "minimum": 0, "maximum": 60},
    lambda value: _LIMIT.match(value) is not None and int(value) <= 60,
    "a whole number of seconds from 0 to 60",
)
WAIT_PARAMETERS: Final = (_WAIT,)
"""The parameters of a create and a start."""

READ_PARAMETERS: Final = (replace(_WAIT, description="With If-None-Match: for how many seconds to wait for a change."),)
"""The parameters of ``GET /v1/runtimes/{id}``."""

_OF_WAITS: Final = {_WAIT.name: _WAIT}
_OF_MOVES: Final = {parameter.name: parameter for parameter in MOVE_ITEM_PARAMETERS}
_OF_INTENTS: Final = {parameter.name: parameter for parameter in INTENT_PARAMETERS}


@lru_cache(maxsize=64)
def parse_list_query(raw: str) -> ListQuery:
    """Parse the raw (still encoded) query string of a list. Raises :class:`InvalidRequest` with every fault."""
    return list_query(parse_query(raw, _BY_NAME))


def list_query(values: Mapping[str, list[str]]) -> ListQuery:
    """The query of a list with these values of :data:`LIST_PARAMETERS`."""
    return ListQuery(
        filter=ListFilter(
            kinds=frozenset(values.get("kind", ())),
            states=frozenset(map(State, values.get("state", ()))),
            name=_single(values, "name"),
            project=_single(values, "project"),
        ),
        providers=frozenset(values.get("provider", ())),
        scopes=frozenset(values.get("scope", ())),
        limit=int(_single(values, "limit") or 50),
        cursor=_single(values, "cursor"),
        owner=_single(values, "owner"),
        labels=frozenset((key, value) for key, _, value in (each.partition("=") for each in values.get("label", ()))),
        partial=_single(values, "partial") != "deny",
        without=frozenset(name[1:] for name in values.get("fields", ())),
    )


def parse_intent_query(raw: str) -> RecordQuery:
    """Parse the raw query string of a list of intents. Raises :class:`InvalidRequest` with every fault."""
    values = parse_query(raw, _OF_INTENTS)
    return RecordQuery(
        states=frozenset(map(IntentState, values.get("state", ()))),
        principal=_single(values, "principal"),
        providers=frozenset(values.get("provider", ())),
        limit=int(_single(values, "limit") or 50),
        cursor=_single(values, "cursor"),
    )


class PageQuery(NamedTuple):
    """A page of moves or of their items."""

    states: frozenset[ItemState]
    limit: int
    cursor: str | None


def parse_move_query(raw: str, *, items: bool = False) -> PageQuery:
    """Parse the raw query string of a list of moves, or of their items. Raises :class:`InvalidRequest` with every
    fault."""
    known = _OF_MOVES if items else {name: each for name, each in _OF_MOVES.items() if name != "state"}
    values = parse_query(raw, known)
    states = frozenset(map(ItemState, values.get("state", ())))
    return PageQuery(states, int(_single(values, "limit") or 50), _single(values, "cursor"))


def parse_wait(raw: str) -> int | None:
    """The seconds in a raw query string of :data:`WAIT_PARAMETERS`. Raises :class:`InvalidRequest`."""
    seconds = _single(parse_query(raw, _OF_WAITS), _WAIT.name) if raw else None
    return None if seconds is None else int(seconds)


def refuse_query(raw: str) -> None:
    """Raise :class:`InvalidRequest` for any parameter, for a call that takes none."""
    parse_query(raw, {})


def parse_query(raw: str, known: Mapping[str, QueryParameter]) -> dict[str, list[str]]:
    """The decoded values by parameter. Raises :class:`InvalidRequest` with every fault."""
    found: dict[str, list[str]] = {}
    faults: list[FieldError] = []
    for pair in raw.split("&"):
        if not pair:
            continue
        name, _, encoded = pair.partition("=")
        name = unquote_plus(name)
        parameter = known.get(name)
        if parameter is None:
            faults.append(FieldError("There is no such parameter here.", "unknown_parameter", parameter=_shown(name)))
            continue
        try:
            value = unquote_plus(encoded, errors="strict")
        except UnicodeDecodeError:
            faults.append(FieldError("The value is not UTF-8.", "invalid", parameter=name))
            continue
        if name in found and not parameter.many:
            faults.append(FieldError("This parameter may be sent only once.", "repeated", parameter=name))
            continue
        values = value.split(",") if parameter.many and parameter.joined else [value]
        if not all(map(parameter.accepts, values)):
            faults.append(FieldError(f"This has to be {parameter.expected}.", "invalid", parameter=name))
        found.setdefault(name, []).extend(values)
    if faults:
        first = faults[0]
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise InvalidRequest(f"Query parameter {first.parameter}: {first.detail}{more}", errors=faults)
    return found


def _single(values: Mapping[str, list[str]], name: str) -> str | None:
    return values[name][0] if name in values else None


def _shown(name: str) -> str:
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in name[:100])
