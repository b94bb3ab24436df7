"""What all parts of a run share: the versions, the upstream, and the rounds."""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.load import median
from benchmarks.processes import SERVER, Server
from benchmarks.results import Row
from benchmarks.versions import Version, serving
from gateway.settings import HttpSettings

Document = Callable[[Path], Mapping[str, Any]]
"""Makes the settings of a gateway, whose files are in a folder."""

LOOP: Final = HttpSettings().event_loop
"""The default of the newest version: what it is compared with runs on the same."""


@dataclass(frozen=True, slots=True)
class Bench:
    """One run. ``versions`` are those that are measured, the newest last. ``say`` reports progress."""

    options: argparse.Namespace
    versions: Sequence[Version]
    folder: Path
    upstream: Server
    say: Callable[[str], None]

    def wanted(self, *names: str) -> bool:
        """Whether ``--only`` selects one of the names."""
        only = self.options.only
        return not only or any(name.startswith(text) for name in names for text in only)

    def rounds(self, name: str, count: int | None = None) -> Iterator[bool]:
        """Yield once per round: False in the first one, which warms up, and then True."""
        count = count or self.options.rounds
        for number in range(count + 1):
            self.say(f"{name}: round {number} of {count}")
            yield number > 0

    @property
    def seconds(self) -> float:
        """The duration of each measurement of a round."""
        return float(self.options.seconds)

    @contextmanager
    def gateways(
        self, document: Document, *arguments: str, processor: int | None = SERVER
    ) -> Iterator[dict[str, Server]]:
        """A gateway of each version, by its name. ``document`` makes the settings; its argument is a new folder."""
        with ExitStack() as stack:
            found = {}
            for version in self.versions:
                folder = self.folder / f"{version.name}-{len(list(self.folder.iterdir()))}"
                folder.mkdir()
                run = serving(version, self._on_loop(document(folder)), folder, *arguments, processor=processor)
                found[version.name] = stack.enter_context(run)
            yield found

    @contextmanager
    def one(self, version: Version, document: Mapping[str, Any], folder: Path) -> Iterator[Server]:
        """A gateway of one version, with its store and settings in the folder."""
        with serving(version, self._on_loop(document), folder) as gateway:
            yield gateway

    @contextmanager
    def several(self, documents: Mapping[int, Document]) -> Iterator[dict[int, dict[str, Server]]]:
        """The gateways of several documents, by the name of each."""
        with ExitStack() as stack:
            yield {name: stack.enter_context(self.gateways(document)) for name, document in documents.items()}

    def _on_loop(self, document: Mapping[str, Any]) -> Mapping[str, Any]:
        """The settings with the selected event loop; unchanged for the default, as older versions know no other."""
        if self.options.loop == LOOP:
            return document
        return {**document, "http": {**document.get("http", {}), "event_loop": self.options.loop}}


def compared(
    row: Mapping[str, Any], figures: Mapping[str, Sequence[float]], beside: str = "", *, inverse: bool = False
) -> Row:
    """A row of the figures of the rounds, by the name of what was measured: each is their median. The ratios to
    ``beside`` are medians of the ratios of the rounds: the gateway's to the other's, or ``inverse``."""
    ratios = {}
    if beside:
        for name in ("before", "after"):
            if name in figures:
                pairs = zip(figures[name], figures[beside], strict=True)
                ratios[f"ratio_{name}"] = median([b / a if inverse else a / b for a, b in pairs])
    others = {name: median(each) for name, each in figures.items() if name not in {"before", "after", beside}}
    return Row(
        after=median(figures["after"]),
        before=median(figures["before"]) if "before" in figures else None,
        beside=median(figures[beside]) if beside else None,
        beside_name=beside,
        more=others,
        **ratios,
        **row,
    )
