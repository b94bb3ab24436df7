"""The generated tables of ``docs/``: kinds, states, verbs and features of every provider API, the routes and error
formats of each dialect, the alerts, and the figures of the benchmarks.

``python -m tests.generated_docs docs/*.md`` writes them between their marks; a test fails while they differ.
"""

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final, cast

from ruamel.yaml import YAML

from benchmarks.results import Results, described, markdown
from benchmarks.shares import read, rows
from gateway.app import plugins
from gateway.domain.errors import GatewayError, error_classes
from gateway.domain.lifecycle import TRANSITIONS, Transition, Verb
from gateway.domain.values import CreateFeature, Feature, State
from gateway.http.access_log import UNMATCHED
from gateway.ports.audit import GatewayAction
from gateway.ports.dialect import Dialect, DialectGateway
from gateway.ports.plugin import AdapterPlugin
from tests.access_table import access_table
from tests.compatibility import Compatibility

Plugins = Mapping[str, AdapterPlugin]

_ROOT: Final = Path(__file__).parents[1]

# A link reference is the one form of comment that neither GitHub nor the gateway's own pages show.
_BLOCK: Final = re.compile(
    r"(?P<begin>^\[//\]: # \(generated: (?P<name>\w+)\)\n).*?(?P<end>^\[//\]: # \(end\)$)", re.MULTILINE | re.DOTALL
)


def with_tables(page: str) -> str:
    """The page with every generated block rendered again. Raises ``KeyError`` for an unknown block name."""
    known = plugins()

    def rendered(match: re.Match[str]) -> str:
        lines = "\n".join(BLOCKS[match["name"]](known)).strip()
        return f"{match['begin']}\n{lines}\n\n{match['end']}"

    return _BLOCK.sub(rendered, page)


def _kinds(known: Plugins) -> Iterator[str]:
    yield from _head("provider API", "lists (`kinds`)", "creates (`creates`)")
    for api, plugin in known.items():
        columns = (plugin.adapter.kinds, plugin.adapter.creates)
        yield _row(f"`{api}`", *(", ".join(f"`{kind}`" for kind in sorted(kinds)) for kinds in columns))


def _states(known: Plugins) -> Iterator[str]:
    """A provider's own state → the runtime's state, from ``STATES`` in each adapter's ``mapping.py``."""
    yield from _head("provider API", "its own state", "`state`")
    for api, plugin in known.items():
        folder = plugin.adapter.__module__.rpartition(".")[0]
        states: Mapping[str, State] = import_module(f"{folder}.mapping").STATES
        for own, state in states.items():
            yield _row(f"`{api}`", f"`{own}`", f"`{state}`")
        yield _row(f"`{api}`", "any other", f"`{State.UNKNOWN}`")


def _verbs(known: Plugins) -> Iterator[str]:
    for api, plugin in known.items():
        features = plugin.adapter.features
        yield from (f"### Verbs at {api}", "")
        yield from _head("verb", *(f"`{state}`" for state in State))
        for verb, transition in TRANSITIONS.items():
            if transition.feature in features:
                yield _row(f"`{verb}`", *(_outcome(verb, transition, state, features) for state in State))
        missing = [f"`{verb}`" for verb, transition in TRANSITIONS.items() if transition.feature not in features]
        if missing:
            yield from ("", f"Not at {api}, in any state (422 `unsupported_feature`): {', '.join(missing)}.")
        yield ""


def _outcome(verb: Verb, transition: Transition, state: State, features: frozenset[str]) -> str:
    """The outcome of a verb in a state, decided in the same order as in the use cases."""
    if state in transition.satisfied_by:
        return "no change"
    if state not in transition.works_from:
        return "409"
    discards = verb is Verb.STOP and Feature.STOP_DISCARDS_STATE in features
    return "with `discard_state`" if discards else "yes"


def _features(known: Plugins) -> Iterator[str]:
    yield from _head("feature", *(f"`{api}`" for api in known))
    for feature in (*Feature, *CreateFeature):
        yield _row(f"`{feature}`", *("yes" if feature in plugin.adapter.features else "–" for plugin in known.values()))


def compatibility(plugin: AdapterPlugin) -> Sequence[Compatibility]:
    """What ``tests/compatibility/`` declares of an adapter; nothing where it has no dialect."""
    if plugin.dialect is None:
        return ()
    declared: Sequence[Compatibility] = import_module(f"tests.compatibility.{plugin.api}").COMPATIBILITY
    return declared


def _spoken(known: Plugins) -> Iterator[tuple[str, type[Dialect], Compatibility]]:
    for api, plugin in known.items():
        for declared in compatibility(plugin):
            assert plugin.dialect is not None
            yield api, plugin.dialect, declared


def _clients(known: Plugins) -> Iterator[str]:
    yield from _head("client", "base URL", "key")
    for _, _, declared in _spoken(known):
        for client in declared.clients:
            yield _row(client.name, client.base_url, client.key)


def _client_calls(known: Plugins) -> Iterator[str]:
    for _, _, declared in _spoken(known):
        yield from (f"### {declared.title.replace('`', '')}", "")
        yield from _head("call", *(client.name for client in declared.clients), "note")
        for call in declared.calls:
            name = "everything else" if call.name == "*" else f"`{call.name}`"
            answers = (str(call.support) if call.exists_in(client) else "–" for client in declared.clients)
            yield _row(name, *answers, call.note)
        yield ""


def _dialect_routes(known: Plugins) -> Iterator[str]:
    yield from _head("request", "served by", "era", "operation", "calls that may end there")
    for api, plugin in known.items():
        if plugin.dialect is None:
            continue
        for route in plugin.dialect.routes:
            calls = ", ".join(
                name
                for declared in compatibility(plugin)
                if declared.era == route.era
                for name in _ending_at(route.operation, declared)
            )
            path = f"`{route.method} /{plugin.dialect.prefix}{route.path}`"
            yield _row(path, f"`{api}`", f"`{route.era}`" if route.era else "–", f"`{route.operation}`", calls)


def _ending_at(operation: str, declared: Compatibility) -> Sequence[str]:
    served = [call for call in declared.calls if call.routes]
    names = [f"`{call.name}`" for call in served if operation in call.routes]
    return [f"all of “{declared.title}”"] if len(names) == len(served) > 1 else names


def _dialect_errors(known: Plugins) -> Iterator[str]:
    """How each dialect renders an error that no provider caused."""
    spoken = {(api, declared.era): (dialect, declared) for api, dialect, declared in _spoken(known)}
    columns = [_renderer(dialect, declared) for dialect, declared in spoken.values()]
    yield from _head("code", *(name for name, _ in columns))
    for cls in error_classes():
        yield _row(f"`{cls.code}`", *(rendered_error(cls) for _, rendered_error in columns))


def _renderer(dialect: type[Dialect], declared: Compatibility) -> tuple[str, Callable[[type[GatewayError]], str]]:
    """The path prefix of an era, and a function that renders its errors."""
    path = next(route.path for route in dialect.routes if route.era == declared.era)
    family = max((family for family in dialect.families if path.startswith(family)), key=len)
    speaker = dialect(cast("DialectGateway", None))  # rendering an error does not use the gateway

    def rendered_error(cls: type[GatewayError]) -> str:
        answer = speaker.failure(cls("It failed."), path, {}, "request")
        body = json.loads(answer.body or b"{}")
        return " ".join((str(answer.status), *(f"`{_member(body, name)}`" for name in declared.error_members)))

    return f"`/{dialect.prefix}{family.rstrip('/')}`", rendered_error


def _member(body: Any, name: str) -> str:
    for part in name.split("."):
        body = body[part]
    return str(body)


def _access(known: Plugins) -> Iterator[str]:
    """What each call of each surface needs, and what it answers to a caller that may not see what it is about."""
    yield from _head("call", "scope", "runtime of another owner", "excluded provider")
    for row in access_table(known):
        yield _row(f"`{row.call}`", row.scope, row.foreign, row.outside)


def _audit_actions(known: Plugins) -> Iterator[str]:
    """Each action of the audit trail, and the calls that it represents."""
    calls: dict[str, list[str]] = {}
    for row in access_table(known):
        if row.secured:
            calls.setdefault(row.action, []).append(f"`{row.call}`")
    yield from _head("action", "what is done")
    for action in GatewayAction:
        yield _row(f"`{action}`", ", ".join([action.meaning, *calls.pop(action, ())]))
    for name, made_by in calls.items():
        yield _row(f"`{name}`", ", ".join(made_by))
    for prefix in sorted({plugin.dialect.prefix for plugin in known.values() if plugin.dialect is not None}):
        yield _row(f"`{prefix}.{UNMATCHED}`", "a path that the dialect does not have, without a known key")


def _alerts(_: Plugins) -> Iterator[str]:
    """Each alert of ``config/deploy/prometheus/alerts.yaml`` with the section of the runbook that it leads to."""
    headings = re.findall(r"^## (.+)$", (_ROOT / "docs/runbook.md").read_text("utf-8"), re.MULTILINE)
    titles = {re.sub(r"[^a-z0-9]+", "-", heading.lower()): heading for heading in headings}
    yield from _head("alert", "severity", "for", "what it says", "section")
    for rule in YAML(typ="safe").load(_ROOT / "config/deploy/prometheus/alerts.yaml")["groups"][0]["rules"]:
        said = re.sub(
            r"\{\{ \$(?:labels\.)?(\w+)[^}]*\}\}", lambda match: match[1].upper(), rule["annotations"]["summary"]
        )
        _, _, anchor = rule["annotations"]["runbook"].partition("#")
        link = f"[{titles[anchor]}](#{anchor})"
        yield _row(f"`{rule['alert']}`", rule["labels"]["severity"], rule.get("for", "–"), said, link)


def _figures(*parts: str) -> Callable[[Plugins], Iterator[str]]:
    """What the last committed run of the benchmarks measured, a table per part."""

    def rendered(_: Plugins) -> Iterator[str]:
        results = Results.read(_ROOT / "benchmarks/figures.json")
        for part in parts:
            if part == "made":
                yield described(results)
            else:
                yield from markdown(results.parts().get(part, ()))
            yield ""

    return rendered


def _shares(_: Plugins) -> Iterator[str]:
    """What the last committed run of the profiler measured."""
    head, *body = rows(read(_ROOT / "benchmarks/shares.json"))
    yield _row(*head)
    yield _row("---", *("---:" for _ in head[1:]))
    yield from (_row(*cells) for cells in body)


BLOCKS: Final[Mapping[str, Callable[[Plugins], Iterable[str]]]] = {
    "kinds": _kinds,
    "states": _states,
    "verbs": _verbs,
    "features": _features,
    "clients": _clients,
    "client_calls": _client_calls,
    "dialect_routes": _dialect_routes,
    "dialect_errors": _dialect_errors,
    "access": _access,
    "audit_actions": _audit_actions,
    "alerts": _alerts,
    "figures": _figures("made", "goals"),
    "more_figures": _figures("rate", "more"),
    "shares": _shares,
}
"""The renderer of each block."""


def _head(*cells: str) -> Sequence[str]:
    return [_row(*cells), _row(*("---" for _ in cells))]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def main(paths: Sequence[str]) -> None:
    """Rewrite the pages."""
    for path in map(Path, paths):
        path.write_text(with_tables(path.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
