"""What the read cache holds: answers by who asked for what, bounded in number and in bytes, found again by subject."""

from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from cachetools import LRUCache

from gateway.domain.ids import RuntimeRef

_ENTRY_BYTES: Final = 1024  # what an entry costs beside its body: keys, tags, the index

Subject: TypeAlias = tuple[str, RuntimeRef | None]
"""What a write changes: one runtime of a provider, or (None) the lists that the provider takes part in."""


class Answer(NamedTuple):
    """An encoded answer. ``providers`` are those that it comes from; one that is not ``whole`` is never stored."""

    body: bytes
    etag: str | None
    providers: tuple[str, ...] = ()
    whole: bool = True


class Key(NamedTuple):
    """Whose read, and of what: a runtime of a provider, or a list by its raw query string."""

    principal: str
    provider: str | None = None
    runtime: RuntimeRef | None = None
    query: str = ""


@dataclass(frozen=True, slots=True)
class Stored:
    """An answer, and the monotonic moment when its read began: what the provider did later is not in it. ``round`` is
    the provider's at that time; in a later one the answer is not fresh. ``key_bytes`` is the length of what the caller
    chose of its key, which may be longer than the answer."""

    answer: Answer
    since: float
    round: int
    key_bytes: int = 0

    @property
    def size(self) -> int:
        """Bytes that it takes, about."""
        return len(self.answer.body) + self.key_bytes + _ENTRY_BYTES


class StoredReads(LRUCache[Key, Stored]):
    """The least recently used answers go first when there are more than ``max_entries``, or more than ``max_bytes`` of
    them together."""

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        super().__init__(max_bytes, getsizeof=lambda stored: stored.size)
        self._max_entries = max_entries
        self._about: dict[Subject, set[Key]] = {}

    def __setitem__(self, key: Key, stored: Stored) -> None:
        """Keep an answer. One that is larger than everything together is not kept."""
        self.pop(key, None)
        if stored.size > self.maxsize:
            return
        while len(self) >= self._max_entries:
            self.popitem()
        super().__setitem__(key, stored)
        for subject in _subjects(key, stored):
            self._about.setdefault(subject, set()).add(key)

    def __delitem__(self, key: Key) -> None:
        for subject in _subjects(key, super().__getitem__(key)):
            keys = self._about[subject]
            keys.remove(key)
            if not keys:
                del self._about[subject]
        super().__delitem__(key)

    def forget(self, subject: Subject) -> None:
        """Remove all answers about the subject."""
        for key in tuple(self._about.get(subject, ())):
            del self[key]

    def forget_all_about(self, key: Key) -> None:
        """Remove the answer, and where it is a runtime all that others were answered about it."""
        if key.provider is None:
            self.pop(key, None)
        else:
            self.forget((key.provider, key.runtime))

    def clear(self) -> None:
        """Remove everything."""
        super().clear()
        self._about.clear()


def _subjects(key: Key, stored: Stored) -> list[Subject]:
    if key.provider is not None:
        return [(key.provider, key.runtime)]
    return [(provider, None) for provider in stored.answer.providers]
