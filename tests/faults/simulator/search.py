"""Chooses the interleavings to run: all those with few deviations from the default course, then seeded random walks.

A run is determined by its choices alone. Option 0 is the default; every other option is a deviation: another task runs
first, a process is stopped or killed, a response is lost. A run is identified by its *path*, the choices up to its
last deviation, so none is run twice.
"""

import random
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TypeAlias

Path: TypeAlias = tuple[int, ...]


def text_of(path: Path) -> str:
    """The path as it is written on a command line."""
    return ".".join(map(str, path)) or "-"


def path_of(text: str) -> Path:
    """The path that :func:`text_of` wrote."""
    return () if text == "-" else tuple(map(int, text.split(".")))


@dataclass(slots=True)
class Choices:
    """Makes every choice of a run: from the path as far as it goes, then at random if ``chance`` is given, else 0."""

    path: Path = ()
    chance: random.Random | None = None
    taken: list[int] = field(default_factory=list)
    offered: list[int] = field(default_factory=list)

    def choose(self, options: int) -> int:
        """Return the number of the chosen option, from 0 to ``options`` - 1."""
        at = len(self.taken)
        if at < len(self.path):
            chosen = self.path[at]
        elif self.chance is not None and self.chance.random() < _RANDOM_SHARE:
            chosen = self.chance.randrange(options)
        else:
            chosen = 0
        self.taken.append(chosen)
        self.offered.append(options)
        return chosen

    def shortest_path(self) -> Path:
        """The shortest path that repeats this run."""
        path = list(self.taken)
        while path and path[-1] == 0:
            path.pop()
        return tuple(path)


_RANDOM_SHARE = 0.12  # of the choices of a walk are random; the others are 0


@dataclass(slots=True)
class Explored:
    """How much was run: runs by their number of deviations, and walks. All runs with up to ``complete`` deviations were
    tried."""

    by_deviations: dict[int, int] = field(default_factory=dict)
    walks: int = 0
    complete: int = -1

    @property
    def runs(self) -> int:
        """The number of runs, walks included."""
        return sum(self.by_deviations.values()) + self.walks


def explore(run: Callable[[Choices], None], *, runs: int, walks: int, seed: int) -> Explored:
    """Call ``run`` with 0 deviations, then 1, and so on, up to ``runs`` times; then for ``walks`` random walks.

    If ``runs`` does not suffice for all paths of a number of deviations, a random sample by ``seed`` is taken."""
    explored = Explored()
    chance = random.Random(seed)  # noqa: S311 (repeatable)
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
        choices = Choices(chance=random.Random(f"{seed} {number}"))  # noqa: S311 (repeatable)
        run(choices)
        path = choices.shortest_path()
        if path not in seen:
            seen.add(path)
            explored.walks += 1
    return explored


class _Deeper:
    """The paths with one deviation more than those that were tried, after their last one. They are numbered and not
    listed, because they are too many to hold."""

    def __init__(self, tried: Sequence[tuple[Path, Sequence[int]]]) -> None:
        self._tried = tried
        self._ends = list(accumulate(sum(offered[len(path) :]) - len(offered[len(path) :]) for path, offered in tried))
        self.size = self._ends[-1] if self._ends else 0

    def path(self, number: int) -> Path:
        """The path of this number. Raises ``AssertionError`` if there are fewer."""
        parent = bisect_right(self._ends, number)
        path, offered = self._tried[parent]
        number -= self._ends[parent - 1] if parent else 0
        for at in range(len(path), len(offered)):
            if number < offered[at] - 1:
                return (*path, *(0,) * (at - len(path)), number + 1)
            number -= offered[at] - 1
        raise AssertionError(f"there are only {self.size} paths")
