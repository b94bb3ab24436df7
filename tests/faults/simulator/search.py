"""Which interleavings are tried: all with few deviations from the usual course, and seeded walks through the rest.

A run is decided by its choices alone. The first option is the usual course; every other one is a deviation: another
task goes first, a process is stopped or killed, an answer is lost. Each run is told by the choices up to its last
deviation, so none is tried twice.
"""

import random
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TypeAlias

Path: TypeAlias = tuple[int, ...]


def text_of(path: Path) -> str:
    """A path for a command line."""
    return ".".join(map(str, path)) or "-"


def path_of(text: str) -> Path:
    """What :func:`text_of` made."""
    return () if text == "-" else tuple(map(int, text.split(".")))


@dataclass(slots=True)
class Choices:
    """Answers every question of a run: from the path as far as it goes, then by chance (if any), else the first."""

    path: Path = ()
    chance: random.Random | None = None
    taken: list[int] = field(default_factory=list)
    offered: list[int] = field(default_factory=list)

    def choose(self, options: int) -> int:
        """One of so many options, by its number."""
        at = len(self.taken)
        if at < len(self.path):
            chosen = self.path[at]
        elif self.chance is not None and self.chance.random() < _WILD:
            chosen = self.chance.randrange(options)
        else:
            chosen = 0
        self.taken.append(chosen)
        self.offered.append(options)
        return chosen

    def told(self) -> Path:
        """The shortest path that leads here again."""
        path = list(self.taken)
        while path and path[-1] == 0:
            path.pop()
        return tuple(path)


_WILD = 0.12  # of the choices of a walk are drawn


@dataclass(slots=True)
class Explored:
    """How much was tried: runs by their number of deviations, walks apart; ``complete``: so many deviations were tried
    in every combination."""

    by_deviations: dict[int, int] = field(default_factory=dict)
    walks: int = 0
    complete: int = -1

    @property
    def runs(self) -> int:
        """All of them."""
        return sum(self.by_deviations.values()) + self.walks


def explore(run: Callable[[Choices], None], *, runs: int, walks: int, seed: int) -> Explored:
    """Run with few deviations first, up to so many runs, drawn where not all can be tried; then walk."""
    explored = Explored()
    chance = random.Random(seed)  # noqa: S311 (to be had again)
    level: Iterable[Path] = [()]
    while explored.runs < runs:
        tried: list[tuple[Path, list[int]]] = []
        deviations = len(explored.by_deviations)
        explored.by_deviations[deviations] = 0
        for path in level:
            choices = Choices(path)
            run(choices)
            explored.by_deviations[deviations] += 1
            tried.append((path, choices.offered))
        deeper = _Deeper(tried)
        left = runs - explored.runs
        if deeper.size <= left:
            explored.complete = deviations + 1
        if not deeper.size:
            break
        level = [deeper.path(number) for number in chance.sample(range(deeper.size), min(left, deeper.size))]
    seen: set[Path] = set()
    for number in range(walks):
        choices = Choices(chance=random.Random(f"{seed} {number}"))  # noqa: S311 (to be had again)
        run(choices)
        if choices.told() not in seen:
            seen.add(choices.told())
            explored.walks += 1
    return explored


class _Deeper:
    """The paths that deviate once more than those that were tried, and later; numbered, because they are many."""

    def __init__(self, tried: Sequence[tuple[Path, Sequence[int]]]) -> None:
        self._tried = tried
        self._ends = list(accumulate(sum(offered[len(path) :]) - len(offered[len(path) :]) for path, offered in tried))
        self.size = self._ends[-1] if self._ends else 0

    def path(self, number: int) -> Path:
        """One of them."""
        parent = bisect_right(self._ends, number)
        path, offered = self._tried[parent]
        number -= self._ends[parent - 1] if parent else 0
        for at in range(len(path), len(offered)):
            if number < offered[at] - 1:
                return (*path, *(0,) * (at - len(path)), number + 1)
            number -= offered[at] - 1
        raise AssertionError("there are only so many")
