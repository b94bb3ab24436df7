"""The tables of ``docs/model.md`` that follow from the code: states, verbs and features of every provider API.

``python -m gateway.generated_docs docs/model.md`` writes them between their marks; a test fails while they differ.
"""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

from gateway.app import plugins
from gateway.domain.features import CreateFeature, Feature
from gateway.domain.lifecycle import TRANSITIONS, Transition, Verb
from gateway.domain.values import State
from gateway.ports.plugin import AdapterPlugin

Plugins = Mapping[str, AdapterPlugin]

# A link reference is the one form of comment that neither GitHub nor the gateway's own pages show.
_BLOCK: Final = re.compile(
    r"(?P<begin>^\[//\]: # \(generated: (?P<name>\w+)\)\n).*?(?P<end>^\[//\]: # \(end\)$)", re.MULTILINE | re.DOTALL
)


def with_tables(page: str) -> str:
    """The page with every generated block as the code has it now. Raises ``KeyError`` for a block of another name."""
    known = plugins()

    def rendered(match: re.Match[str]) -> str:
        lines = "\n".join(BLOCKS[match["name"]](known)).strip()
        return f"{match['begin']}\n{lines}\n\n{match['end']}"

    return _BLOCK.sub(rendered, page)


def _states(known: Plugins) -> Iterator[str]:
    """A provider's own state → the runtime's, as the ``STATES`` of each adapter's ``mapping.py`` says."""
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
    """In the order in which the use cases decide."""
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


BLOCKS: Final[Mapping[str, Callable[[Plugins], Iterable[str]]]] = {
    "states": _states,
    "verbs": _verbs,
    "features": _features,
}
"""What renders each block."""


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
