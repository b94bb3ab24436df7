"""What a person reads of a plan: how many runtimes move, what changes and is lost, what is blocked, and what to do."""

import json
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from gateway.cli.failures import one_line

WIDTH: Final = 80
_MOST: Final = 8  # lines of one section
_NAMES: Final = 3
MAPPINGS: Final = "#/mappings/"

Item = Mapping[str, Any]
Found = Iterable[tuple[str, str]]
"""Entries of a section: what is counted, and what explains it."""


def report(move: Mapping[str, Any], items: Sequence[Item]) -> Iterator[str]:
    """The lines of the report, none longer than :data:`WIDTH` but for words that are."""
    request = move["request"]
    target = items[0]["target"]["scope"] if items else request["target"].get("scope", "")
    yield f"Move {move['id']}: {request['source']['provider']} to {request['target']['provider']} {target}".rstrip()
    blocked = [item for item in items if item["blocked_by"]]
    can = len(items) - len(blocked)
    yield f"{number(len(items))}: {can} can move, {len(blocked)} {'is' if len(blocked) == 1 else 'are'} blocked."
    if problem := move.get("problem"):
        yield from _wrapped(f"{problem['code']}: {problem['detail']}", "  ")
    yield from _section("Changes", items, _changes)
    yield from _section("Works differently there", items, _semantics)
    yield from _section("Lost", items, lambda item: [(each["what"], each["why"]) for each in item["lost"]])
    yield from _section("Not known", items, lambda item: [(each, "") for each in item["unknown"]])
    yield from _section("Addresses in use", items, lambda item: [(each, "") for each in item["addresses"]])
    yield from _section("While they move", items, lambda item: [(item["double_run"] or "", "")])
    yield from _section("Blocked", blocked, _blockers, names=True)
    if move["side_effects"]:
        yield ""
        yield "Beside the runtimes"
        for text in move["side_effects"]:
            yield from _wrapped(text, "  ")


def next_steps(move: Mapping[str, Any], items: Sequence[Item], plan: str, mappings: str | None) -> Iterator[str]:
    """What to do after reading the report. ``plan`` is the command line of this plan."""
    blocked = [item for item in items if item["blocked_by"]]
    pointers = [each["pointer"] or "" for item in blocked for each in item["blocked_by"]]
    yield ""
    if not items:
        yield "Nothing is selected: look at the runtimes of the source, and at the options of this plan."
        return
    yield "Next"
    if any(where.startswith(MAPPINGS) for where in pointers):
        yield (
            "  write what has to be mapped into a file, and fill it in:"
            if mappings is None
            else (f"  fill in {mappings}, and plan again:")
        )
        yield f"    {plan} --mappings mappings.yaml" if mappings is None else f"    {plan}"
    if blocked:
        yield "  see all that is blocked:"
        yield f"    runtime-gateway migrate items {move['id']} --state blocked"
    if len(blocked) < len(items):
        yield "  move the others:" if blocked else "  move them:"
        yield f"    runtime-gateway migrate apply {move['id']} --digest {move['digest']}"


def template(items: Sequence[Item], target: str) -> str | None:
    """The file of the mappings that are missing, to be filled in; None if none is. Its values are null."""
    needed: dict[str, dict[str, list[str]]] = {}
    for item in items:
        for each in item["blocked_by"]:
            if (each["pointer"] or "").startswith(MAPPINGS):
                kind, _, escaped = each["pointer"].removeprefix(MAPPINGS).partition("/")
                value = escaped.replace("~1", "/").replace("~0", "~")
                needed.setdefault(kind, {}).setdefault(value, []).append(item["name"] or item["runtime_id"])
    if not needed:
        return None
    lines = [f'# What these are called at {target}. "" leaves one out.']
    for kind, values in needed.items():
        lines.append(f"{kind}:")
        lines += [f"  {json.dumps(value)}: # {_names(names)}" for value, names in values.items()]
    return "\n".join(lines) + "\n"


def why(item: Item) -> str:
    """Why a runtime does not move, or what it waits for, in one line."""
    problem = item["problem"]
    reasons = [problem] if problem else item["blocked_by"]
    return "; ".join(f"{each['code']}: {each['pointer'] or each['detail']}" for each in reasons) or (
        item["waits_for"] or ""
    )


def _changes(item: Item) -> Found:
    for change in item["changes"]:
        yield change["pointer"], f"{_shown(change['from'])} to {_shown(change['to'])}"


def _semantics(item: Item) -> Found:
    for rule in item["semantics"]:
        yield rule["topic"], f"now: {rule['from']} There: {rule['to']}"


def _blockers(item: Item) -> Found:
    for each in item["blocked_by"]:
        yield f"{each['code']} {each['pointer'] or ''}".rstrip(), each["detail"]


def _section(title: str, items: Sequence[Item], of: Callable[[Item], Found], *, names: bool = False) -> Iterator[str]:
    """The entries of all items, each once, with the number of runtimes and the first explanation."""
    found: dict[str, tuple[str, list[str]]] = {}
    for item in items:
        for what, explained in of(item):
            if what:
                found.setdefault(what, (explained, []))[1].append(item["name"] or item["runtime_id"])
    if not found:
        return
    yield ""
    yield title
    for what, (explained, having) in sorted(found.items(), key=lambda entry: -len(entry[1][1]))[:_MOST]:
        yield from _wrapped(f"{what} ({number(len(having))})", "  ")
        yield from _wrapped(explained, "    ")
        if names:
            yield from _wrapped(_names(having), "    ")
    if len(found) > _MOST:
        yield f"  and {len(found) - _MOST} more"


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        one_line(text),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def number(count: int) -> str:
    """A number of runtimes, as text."""
    return f"{count} runtime{'' if count == 1 else 's'}"


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return one_line(", ".join(names[:_NAMES]) + more)


def _shown(value: Any) -> str:
    text = "nothing" if value is None else one_line(value if isinstance(value, str) else json.dumps(value))
    return text if len(text) <= 60 else f"{text[:59]}…"
