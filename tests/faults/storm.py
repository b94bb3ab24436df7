"""A random mix of faults, and the creates that are sent meanwhile, both derived from one seed."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from tests.faults.callers import Create
from tests.faults.providers import KINDS, Upstream, body
from tests.faults.replicas import DEADLINE, QUICK
from tests.tcp_faults import Mode

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
    (0.025, {"fault": "other_answer"}),
    (0.025, {"fault": "other_answer_after"}),
    (0.0125, {"fault": "other_name"}),
    (0.0125, {"fault": "other_name_after"}),
    (0.0125, {"fault": "other_name", "part": "scope"}),
    (0.0125, {"fault": "other_name_after", "part": "scope"}),
)
"""The faults of the emulators, and the share of creates to which each is applied. A scope is only changed at the
providers whose responses contain it."""


class Storm:
    """The faults of one run."""

    def __init__(self, upstreams: Sequence[Upstream], seed: int) -> None:
        self._upstreams = upstreams
        self._chance = random.Random(seed)  # noqa: S311 (repeatable)
        self._refusing: Counter[str] = Counter()
        self._refused: set[int] = set()

    def begin(self) -> None:
        """Activate the faults. Each is applied at least once, at one of the providers."""
        for upstream in self._upstreams:
            for share, rule in MIX:
                upstream.fault(**rule, probability=share, seed=self._chance.randrange(1 << 30))
        for index, (_, rule) in enumerate(MIX):
            able = [one for one in self._upstreams if rule.get("part", "name") in one.emulator.members]
            able[index % len(able)].fault(**rule, times=1)

    def creates(self, count: int, word: str) -> Iterator[Create]:
        """``count`` creates with different keys, at the providers in turn. 10 % of them name no provider, and 20 % no
        name."""
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
        """Make the create's provider refuse connections within the context, if the create was drawn for it."""
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
        """Deactivate all faults. Return how often each was applied, summed over the providers."""
        fired: Counter[str] = Counter()
        for upstream in self._upstreams:
            for rule in upstream.emulator.faults.shown():
                name = " ".join(str(rule[part]) for part in ("fault", "status", "part") if part in rule)
                fired[name] += rule["fired"]
            upstream.emulator.faults.end_all()
        return dict(fired)
