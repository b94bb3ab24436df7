"""Live reload of settings: validated first, then applied all at once, for all later requests.

Providers whose settings did not change keep their connections and their state. The others are recreated; requests in
flight keep the replaced ones, which are closed when those requests have ended.
"""

import asyncio
import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

from adapters.registry import discover
from gateway.api.auth import Authenticator
from gateway.api.cache.cache import ReadCache
from gateway.app.callers import changed_principals, issuers, principals_by_digest
from gateway.http.cors import Cors
from gateway.http.in_flight import InFlight
from gateway.ports.clock import Clock
from gateway.ports.native import Rules
from gateway.ports.provider import ProviderAdapter
from gateway.ports.provider_settings import ProviderSettings
from gateway.services.dialects import DialectRule, DialectService
from gateway.services.fleet import Fleet, Provider
from gateway.services.health import HealthService
from gateway.settings import Problem, Settings, SettingsError, SettingsSource, TlsFault
from gateway.settings.model import contradictions
from gateway.telemetry.logs import Event, Logger
from gateway.telemetry.metrics import Metrics
from gateway.upstream.passthrough import PassThrough

_SECTIONS: Final = ("providers", "auth", "dialects", "reload", "health", "shutdown")
LIVE: Final = (*_SECTIONS, "log.level", "http.cors", "http.tls", "data.tls")
"""The settings that a reload applies; all others need a restart."""

_UNUSED_CHECK_SECONDS: Final = 1.0  # between two checks whether a replaced provider is still in use


class Change(NamedTuple):
    """The result of a reload: names of providers, the names of principals that were added, removed or have other keys
    or rights, and the dotted paths of changed settings that need a restart."""

    added: list[str]
    removed: list[str]
    changed: list[str]
    principals: list[str]
    restart_needed: list[str]


@dataclass(eq=False, repr=False)
class Reloader:
    """Applies settings. ``settings`` are the current ones, ``tls`` is what new connections to the API need for TLS;
    ``native``, which the pass-through reads, is updated. Raises :class:`SettingsError` for files of ``http.tls``."""

    settings: Settings
    _: KW_ONLY
    fleet: Fleet
    native: dict[str, PassThrough]
    dialects: DialectService
    authenticator: Authenticator
    cors: Cors
    in_flight: InFlight
    health: HealthService
    reads: ReadCache | None
    make_adapter: Callable[[ProviderSettings], ProviderAdapter[Any]]
    make_native: Callable[[ProviderSettings], PassThrough]
    on_principals: Callable[[list[str]], None]
    metrics: Metrics
    logger: Logger
    clock: Clock

    def __post_init__(self) -> None:
        self._identities = _identities(self.settings)
        self._retired: set[Provider | PassThrough] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._applied = asyncio.Event()
        self.tls, self.data_tls = _tls(self.settings)
        self._succeeded()

    async def watch(self, source: SettingsSource, sighup: asyncio.Event) -> None:
        """Reload whenever ``sighup`` is set, and when a watched file has changed. Never returns."""
        while True:
            try:
                async with asyncio.timeout(self.settings.reload.every):
                    await sighup.wait()
            except TimeoutError:
                if not self.settings.reload.watch or not await asyncio.to_thread(source.changed):
                    continue
            sighup.clear()
            await self.reload(source)

    async def reload(self, source: SettingsSource) -> bool:
        """Read the settings again, and apply them if they are valid. Returns whether they were applied."""
        try:
            loaded = await asyncio.to_thread(source.load)
            self.apply(loaded.settings)
        except SettingsError as error:
            self._reject(error.problems)
        except Exception:  # the current settings are valid and stay
            self.logger.exception(Event.UNEXPECTED_ERROR, detail="the settings were not reloaded")
        else:
            self._succeeded()
            return True
        self.metrics.reload_successful.set(0)
        return False

    async def check_providers_periodically(self) -> None:
        """Probe all providers now and then every ``health.every`` seconds, unless ``health.probe`` is off. A changed
        interval counts from the last probe. Never returns."""
        asked: float | None = None
        while True:
            self._applied.clear()
            settings = self.settings.health
            if not settings.probe:
                asked = None
                await self._applied.wait()
            elif asked is not None and (left := asked + settings.every - self.clock.monotonic()) > 0:
                await self._pause(left)
            else:
                await self._ask(None if asked is None else settings.every)
                asked = self.clock.monotonic()

    async def _ask(self, every: float | None) -> None:
        try:
            await (self.health.check_all() if every is None else self.health.probe_round(every))
        except Exception:  # a bug in one probe must not end the probing
            self.logger.exception(Event.UNEXPECTED_ERROR, detail="the providers were not probed")

    async def _pause(self, seconds: float) -> None:
        """Wait for ``seconds``, or until new settings are applied."""
        sleeping, applied = asyncio.create_task(self.clock.sleep(seconds)), asyncio.create_task(self._applied.wait())
        try:
            await asyncio.wait((sleeping, applied), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            applied.cancel()

    def apply(self, settings: Settings) -> Change:
        """Apply settings. Raises :class:`SettingsError` when they contradict current settings that need a restart, and
        any exception from creating a provider; then nothing changes."""
        needed = sorted(path for path in _differences(self.settings, settings) if not _is_live(path))
        settings = self._effective(settings)
        tls, data_tls = _tls(settings)
        identities = _identities(settings)
        same = {name for name, identity in identities.items() if self._identities.get(name) == identity}
        kept = {provider.name: provider.adapter for provider in self.fleet if provider.name in same}
        adapters, native = [], {}
        for name, provider in settings.providers.items():
            adapters.append(kept[name] if name in kept else self.make_adapter(provider))
            native[name] = self.native[name] if name in kept else self.make_native(provider)
        change = Change(
            added=[name for name in identities if name not in self._identities],
            removed=[name for name in self._identities if name not in identities],
            changed=[name for name in identities if name in self._identities and name not in same],
            principals=changed_principals(self.settings, settings),
            restart_needed=needed,
        )
        gone = [passed for name, passed in self.native.items() if native.get(name) is not passed]
        retired: list[Provider | PassThrough] = [*self.fleet.replace(adapters), *gone]
        self.native.clear()
        self.native.update(native)
        self.dialects.replace_rules(dialect_rules(settings), forward_rules(settings))
        self.authenticator.replace(principals_by_digest(settings), issuers(settings))
        self.cors.replace(settings.http.cors)
        self.tls, self.data_tls = tls, data_tls
        self.logger.set_level(settings.log.level)
        self.health.timeout = settings.health.timeout
        if self.reads is not None and (retired or settings.auth != self.settings.auth):
            self.reads.clear()
        for name in change.removed:
            self.metrics.forget_provider(name)
        self.settings, self._identities = settings, identities
        self._applied.set()
        self._log(change)
        self._retire(retired)
        fresh = [provider for provider in self.fleet if provider.name not in kept]
        if fresh and settings.health.probe:
            self._begin(self.health.check_all(fresh))
        return change

    def _effective(self, settings: Settings) -> Settings:
        """``settings`` where a reload can apply them, the current ones elsewhere."""
        sections = {name: getattr(settings if name in LIVE else self.settings, name) for name in Settings.model_fields}
        sections["log"] = settings.log.model_copy(update={"format": self.settings.log.format})
        sections["http"] = self.settings.http.model_copy(update={"cors": settings.http.cors, "tls": settings.http.tls})
        sections["data"] = self.settings.data.model_copy(update={"tls": settings.data.tls})
        checked = {name: sections[name] for name in ("http", "admin", "auth", "providers", "dialects")}
        if problems := [Problem(".".join(at), message) for at, message in contradictions(**checked)]:
            raise SettingsError(problems)
        return Settings(**sections)

    def _reject(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            self.logger.error(Event.SETTINGS_REJECTED, setting=problem.path, detail=problem.message)

    def _succeeded(self) -> None:
        self.metrics.reload_successful.set(1)
        self.metrics.reload_seconds.set(self.clock.now())

    def _log(self, change: Change) -> None:
        self.logger.info(
            Event.SETTINGS_RELOADED,
            added=change.added,
            removed=change.removed,
            changed=change.changed,
            principals=change.principals,
        )
        if change.principals:
            self.on_principals(change.principals)
        if change.restart_needed:
            self.logger.warning(Event.RESTART_NEEDED, settings=change.restart_needed)

    def _retire(self, retired: Iterable[Provider | PassThrough]) -> None:
        retired = list(retired)
        if retired:
            self._retired.update(retired)
            self._begin(self._close_unused(retired))

    async def _close_unused(self, retired: list[Provider | PassThrough]) -> None:
        """Close replaced providers when no request can use them any more."""
        await self.in_flight.ended()
        for one in retired:
            while one.calls:
                await self.clock.sleep(_UNUSED_CHECK_SECONDS)
            await _close(one)
            self._retired.discard(one)

    def _begin(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.logger.error(Event.UNEXPECTED_ERROR, detail="after a reload", error=repr(error))

    async def close(self) -> None:
        """Close all connections to providers, including those of replaced ones."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for one in (*self._retired, *self.fleet, *self.native.values()):
            await _close(one)


async def _close(one: Provider | PassThrough) -> None:
    await (one.close() if isinstance(one, PassThrough) else one.adapter.transport.close())


def _tls(settings: Settings) -> Sequence[ssl.SSLContext | None]:
    """What new connections to the API and to the data plane need for TLS. Raises :class:`SettingsError`."""
    contexts = []
    for name, tls in (("http", settings.http.tls), ("data", settings.data.tls)):
        try:
            contexts.append(tls.context())
        except TlsFault as fault:
            raise SettingsError([Problem(f"{name}.tls.{fault.setting}", fault.message)]) from fault
    return contexts


def dialect_rules(settings: Settings) -> dict[str, list[DialectRule]]:
    return {
        prefix: [DialectRule(route.scope, route.provider, route.target_scope, route.era) for route in dialect.routes]
        for prefix, dialect in settings.dialects.items()
    }


def forward_rules(settings: Settings) -> dict[str, Rules]:
    """What each dialect forwards, by its prefix."""
    presets: dict[str, dict[str, Sequence[str]]] = {}
    for plugin in discover().values():
        if plugin.dialect is not None:
            presets.setdefault(plugin.dialect.prefix, {}).update(plugin.dialect.presets)
    return {
        prefix: Rules(rule for entry in dialect.forward for rule in presets.get(prefix, {}).get(entry, (entry,)))
        for prefix, dialect in settings.dialects.items()
        if dialect.forward
    }


def _identities(settings: Settings) -> dict[str, object]:
    """What identifies each provider: its settings, and the content of the certificate file that they name."""
    return {name: (provider, _content(provider.ca_file)) for name, provider in settings.providers.items()}


def _content(file: str | None) -> bytes | None:
    if file is None:
        return None
    try:
        return sha256(Path(file).read_bytes()).digest()
    except OSError:
        return None


def _is_live(path: str) -> bool:
    return any(path == live or path.startswith(live + ".") for live in LIVE)


def _differences(before: Settings, after: Settings) -> Iterator[str]:
    return _differing(before.model_dump(), after.model_dump(), "")


def _differing(before: Any, after: Any, path: str) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict) and not path.startswith("providers"):
        for name in sorted(before.keys() | after.keys()):
            yield from _differing(before.get(name), after.get(name), f"{path}.{name}" if path else name)
    elif before != after:
        yield path
