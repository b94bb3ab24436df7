"""The entries of the read cache: by principal and read, bounded in number and bytes, indexed by subject."""

from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from cachetools import LRUCache

from gateway.domain.access import Reader
from gateway.domain.ids import RuntimeRef

_ENTRY_BYTES: Final = 1024  # overhead of an entry besides its body: keys, tags, the index

Subject: TypeAlias = tuple[str, RuntimeRef | None]
"""What a write affects: one runtime of a provider, or (None) the lists that include the provider."""


class EncodedResponse(NamedTuple):
    """An encoded response. ``providers`` are those it comes from; one that is not ``whole`` is never stored."""

    body: bytes
    etag: str | None
    providers: tuple[str, ...] = ()
    whole: bool = True


class Key(NamedTuple):
    """The reader, and what is read: a runtime of a provider, or a list by its raw query string. What a principal of
    tokens may see depends on the token too: on its group, which may be None."""

    reader: Reader
    provider: str | None = None
    runtime: RuntimeRef | None = None
    query: str = ""


@dataclass(frozen=True, slots=True)
class Stored:
    """A response, and ``since``, the monotonic time when its read began: later changes are not in it. ``round`` is the
    provider's at that time; in a later round the response is not fresh. ``key_bytes`` is the length of the part of the
    key that the caller chose (the query), which may be longer than the response."""

    response: EncodedResponse
    since: float
    round: int
    key_bytes: int = 0

    @property
    def size(self) -> int:
        return len(self.response.body) + self.key_bytes + _ENTRY_BYTES


class StoredReads(LRUCache[Key, Stored]):
    """Evicts the least recently used responses beyond ``max_entries`` entries, or ``max_bytes`` in total."""

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        super().__init__(max_bytes, getsizeof=lambda stored: stored.size)
        self._max_entries = max_entries
        self._about: dict[Subject, set[Key]] = {}

    def __setitem__(self, key: Key, stored: Stored) -> None:
        """Store a response, unless it alone is larger than ``max_bytes``."""
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
        for key in tuple(self._about.get(subject, ())):
            del self[key]

    def forget_all_about(self, key: Key) -> None:
        """Remove the response; for a runtime also the responses of other principals about it."""
        if key.provider is None:
            self.pop(key, None)
        else:
            self.forget((key.provider, key.runtime))

    def clear(self) -> None:
        super().clear()
        self._about.clear()


def _subjects(key: Key, stored: Stored) -> list[Subject]:
    if key.provider is not None:
        return [(key.provider, key.runtime)]
    return [(provider, None) for provider in stored.response.providers]
