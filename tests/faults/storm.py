"""The mix of faults that creates go through, and the creates themselves, all drawn from one seed."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from gateway.testing.tcp_faults import Mode
from tests.faults.callers import Create
from tests.faults.providers import KINDS, Upstream, body
from tests.faults.replicas import DEADLINE, QUICK

REFUSED: Final = 0.10
"""The share of creates during which the provider refuses connections."""

MIX: Final[Sequence[tuple[float, Mapping[str, Any]]]] = (
    (0.20, {"fault": "drop_after"}),
    (0.05, {"fault": "delay_after", "seconds": DEADLINE + 0.5}),
    (0.05, {"fault": "delay_before", "seconds": 0.9 * QUICK["wait_out"]}),
    *(
        (0.10 / 6, {"fault": fault, "status": status})
        for fault in ("status", "status_after")
        for status in (500, 502, 429)
    ),
    (0.025, {"fault": "half_body"}),
    (0.0125, {"fault": "html"}),
    (0.0125, {"fault": "html", "status": 200}),
)
"""The share of creates that each fault of the emulators takes place on."""


class Storm:
    """The faults of one run."""

    def __init__(self, upstreams: Sequence[Upstream], seed: int) -> None:
        self._upstreams = upstreams
        self._chance = random.Random(seed)  # noqa: S311 (chance that can be repeated)
        self._refusing: Counter[str] = Counter()
        self._refused: set[int] = set()

    def begin(self) -> None:
        """Put the faults in force. Each takes place once for certain, at one of the providers."""
        for upstream in self._upstreams:
            for share, rule in MIX:
                upstream.fault(**rule, probability=share, seed=self._chance.randrange(1 << 30))
        for index, (_, rule) in enumerate(MIX):
            self._upstreams[index % len(self._upstreams)].fault(**rule, times=1)

    def creates(self, count: int, word: str) -> Iterator[Create]:
        """So many creates, each under a key of its own: at every provider in turn and now and then at none in
        particular, now and then without a name."""
        for number in range(count):
            upstream = self._upstreams[number % len(self._upstreams)]
            anywhere, unnamed = self._chance.random() < 0.1, self._chance.random() < 0.2
            name = None if unnamed else f"{word}-{number}"
            where = None if anywhere else upstream
            if self._chance.random() < REFUSED:
                self._refused.add(number)
            yield Create(number, f"key-{word}-{number}", body(where, KINDS[upstream.setup.api], name))

    @asynccontextmanager
    async def around(self, create: Create) -> AsyncIterator[None]:
        """Let the create's provider refuse connections meanwhile, if it is one of those."""
        if create.number not in self._refused:
            yield
            return
        named = create.body.get("provider")
        upstream = next(upstream for upstream in self._upstreams if named in {None, upstream.name})
        self._refusing[upstream.name] += 1
        await upstream.proxy.set_mode(Mode.REFUSE)
        try:
            yield
        finally:
            self._refusing[upstream.name] -= 1
            if not self._refusing[upstream.name]:
                await upstream.proxy.set_mode(Mode.FORWARD)

    def end(self) -> dict[str, int]:
        """End all faults; how often each took place, at all providers together."""
        fired: Counter[str] = Counter()
        for upstream in self._upstreams:
            for rule in upstream.emulator.faults.shown():
                fired[" ".join(str(rule[part]) for part in ("fault", "status") if part in rule)] += rule["fired"]
            upstream.emulator.faults.end_all()
        return dict(fired)
