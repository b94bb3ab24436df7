"""The public keys of the issuers of tokens, kept current in the background."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from gateway.ports.clock import Clock
from gateway.ports.key_sets import FetchKeySet, KeySetUnavailable
from gateway.telemetry.signals import AccessSignals

REFRESH_SECONDS: Final = 300.0
"""Seconds between two fetches of a key set."""
RETRY_SECONDS: Final = 15.0
"""Seconds between two fetches after one that failed."""
UNKNOWN_KEY_SECONDS: Final = 60.0
"""Seconds between two fetches for unknown key ids, at least."""
MAX_KEYS: Final = 64
MIN_RSA_BITS: Final = 2048

_CHECK_SECONDS: Final = 5.0
_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_BY_CURVE: Final = {
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
    ("OKP", "Ed448"): ("EdDSA",),
}
ALGORITHMS: Final = frozenset(_RSA).union(*_BY_CURVE.values())
"""All algorithms that a token may be signed with. Each is asymmetric."""


class _Jwk(msgspec.Struct, frozen=True, omit_defaults=True):
    """The public members of a key. ``d`` and ``k`` are those of private and symmetric keys."""

    kty: str
    kid: str | None = None
    alg: str | None = None
    use: str = "sig"
    key_ops: tuple[str, ...] = ("verify",)
    crv: str = ""
    n: str | None = None
    e: str | None = None
    x: str | None = None
    y: str | None = None
    d: Any = None
    k: Any = None

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The algorithms that the key may verify: those of its type and curve, and only ``alg`` if it has one."""
        if self.use != "sig" or "verify" not in self.key_ops or self.d is not None or self.k is not None:
            return ()
        fitting = _RSA if self.kty == "RSA" else _BY_CURVE.get((self.kty, self.crv), ())
        return tuple(each for each in fitting if self.alg in {None, each})


class _Document(msgspec.Struct, frozen=True):
    keys: list[msgspec.Raw]


class KeySet:
    """The usable keys of one document. Raises :class:`KeySetUnavailable` for anything but a key set."""

    def __init__(self, document: bytes) -> None:
        try:
            entries = msgspec.json.decode(document, type=_Document).keys
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            raise KeySetUnavailable("not a key set") from exc
        if len(entries) > MAX_KEYS:
            raise KeySetUnavailable(f"more than {MAX_KEYS} keys")
        from jwt import PyJWTError  # noqa: PLC0415 (its import is slow, and most gateways have no issuers)

        self.document = document
        self._keys: dict[tuple[str, str], Any] = {}
        self._by_algorithm: dict[str, list[Any]] = {}
        for entry in entries:
            with suppress(msgspec.MsgspecError, RecursionError, PyJWTError, ValueError, TypeError):
                self._add(msgspec.json.decode(entry, type=_Jwk))

    def _add(self, jwk: _Jwk) -> None:
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey  # noqa: PLC0415 (the same)
        from jwt import PyJWK  # noqa: PLC0415

        if not jwk.algorithms:
            return
        key = PyJWK(msgspec.to_builtins(jwk), jwk.algorithms[0]).key
        if isinstance(key, RSAPublicKey) and key.key_size < MIN_RSA_BITS:
            return
        for algorithm in jwk.algorithms:
            if jwk.kid is not None:
                self._keys.setdefault((jwk.kid, algorithm), key)
            self._by_algorithm.setdefault(algorithm, []).append(key)

    def __len__(self) -> int:
        return sum(map(len, self._by_algorithm.values()))

    def key(self, key_id: str | None, algorithm: str) -> Any:
        """The key of this id for this algorithm; without an id, the only key for the algorithm. None without one."""
        if key_id is not None:
            return self._keys.get((key_id, algorithm))
        fitting = self._by_algorithm.get(algorithm, ())
        return fitting[0] if len(fitting) == 1 else None


@dataclass(eq=False, repr=False)
class IssuerKeys:
    """The last good key set of one issuer. ``on_changed`` is called when another one replaces it."""

    _name: str
    address: str
    _fetch: FetchKeySet
    _clock: Clock
    _observer: AccessSignals
    _on_changed: Callable[[], None]
    current: KeySet | None = field(default=None, init=False)
    refreshing: asyncio.Task[None] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._due = self._clock.monotonic()
        self._unknown_due = self._due

    def refresh(self) -> asyncio.Task[None]:
        """The fetch in progress, or a new one. It raises nothing."""
        if self.refreshing is None:
            self.refreshing = asyncio.create_task(self._refresh())
        return self.refreshing

    def refresh_if_due(self) -> None:
        """Start a fetch if the last one was long enough ago."""
        if self._clock.monotonic() >= self._due:
            self.refresh()

    def refresh_for_unknown_key(self) -> asyncio.Task[None] | None:
        """The fetch that may bring a key that is not known; None if there was one for such a key just now."""
        now = self._clock.monotonic()
        if self.refreshing is None:
            if now < self._unknown_due:
                return None
            self._unknown_due = now + UNKNOWN_KEY_SECONDS
        return self.refresh()

    async def _refresh(self) -> None:
        wait, keys, problem = RETRY_SECONDS, None, None
        try:
            document = await self._fetch(self.address)
            if self.current is None or self.current.document != document:
                self.current = KeySet(document)
                self._on_changed()
            wait, keys = REFRESH_SECONDS, len(self.current)
        except KeySetUnavailable as unavailable:
            problem = str(unavailable)
        except Exception as exc:  # noqa: BLE001 (a bug must not end the refreshing; it is reported)
            problem = "internal error"
            self._observer.failed(exc)
        finally:
            self._due = self._clock.monotonic() + wait
            self.refreshing = None
        self._observer.key_set_fetched(self._name, keys, problem)


class KeySets:
    """The key sets of all issuers, by their names."""

    def __init__(self, fetch: FetchKeySet, clock: Clock, observer: AccessSignals) -> None:
        self._fetch = fetch
        self._clock = clock
        self._observer = observer
        self._issuers: dict[str, IssuerKeys] = {}

    def replace(self, addresses: Mapping[str, str], on_changed: Callable[[], None]) -> None:
        """Replace the issuers. The keys of those whose address did not change stay."""
        before, self._issuers = self._issuers, {}
        for name, address in addresses.items():
            known = before.get(name)
            if known is None or known.address != address:
                known = IssuerKeys(name, address, self._fetch, self._clock, self._observer, on_changed)
            self._issuers[name] = known

    def __getitem__(self, name: str) -> IssuerKeys:
        return self._issuers[name]

    async def first_fetches(self, seconds: float) -> None:
        """Wait for the first fetch of each issuer, good or not, but not longer than this."""
        if fetches := [one.refresh() for one in self._issuers.values()]:
            await asyncio.wait(fetches, timeout=seconds)

    async def run(self) -> None:
        """Keep the key sets current until the task is cancelled."""
        try:
            while True:
                for one in self._issuers.values():
                    one.refresh_if_due()
                await self._clock.sleep(_CHECK_SECONDS)
        finally:
            for one in self._issuers.values():
                if one.refreshing is not None:
                    one.refreshing.cancel()
