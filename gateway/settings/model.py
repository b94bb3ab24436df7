"""The typed settings. Sizes are in bytes, times in seconds."""

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, SerializeAsAny, model_validator

from gateway.ports.native import Rule
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.section import Section
from gateway.settings.access import AuthSettings, KeyName, ambiguous_principals, issuer_faults
from gateway.settings.document import Path, did_you_mean
from gateway.settings.limits import (
    CacheSettings,
    HealthSettings,
    LimitsSettings,
    ReloadSettings,
    ShutdownSettings,
    UsageSettings,
)
from gateway.settings.listen import CorsSettings, DataSettings, ListenAddress, TlsSettings, parse_listen
from gateway.settings.store import AuditSettings, CreatesSettings, StoreSettings

NO_AUTH: Final = "none"

Listen = Annotated[str, AfterValidator(lambda text: str(parse_listen(text)))]


class HttpSettings(Section):
    """The inbound HTTP server. ``base_path`` is the path prefix below which clients see it. ``max_line_bytes`` bounds
    the request target, ``max_header_bytes`` one header field. ``write_timeout`` is how long a client may read no byte
    of its response before its connection is closed. ``max_idle_connections_per_address`` is half of
    ``max_connections`` if it is None."""

    listen: Listen = "127.0.0.1:8080"
    event_loop: Literal["asyncio", "uvloop"] = "asyncio"
    base_path: Annotated[str, Field(pattern=r"^(/|(/[A-Za-z0-9._~-]+)+)$", max_length=200)] = "/"
    max_body_bytes: Annotated[int, Field(ge=1024, le=1 << 28)] = 1 << 20
    max_header_bytes: Annotated[int, Field(ge=1024, le=1 << 20)] = 16 << 10
    max_line_bytes: Annotated[int, Field(ge=1024, le=1 << 20)] = 8190
    body_timeout: Annotated[float, Field(gt=0, le=600)] = 30
    keepalive_timeout: Annotated[float, Field(ge=0, le=3600)] = 75
    write_timeout: Annotated[float, Field(gt=0, le=3600)] = 60
    max_connections: Annotated[int, Field(ge=1, le=1_000_000)] = 2000
    max_idle_connections_per_address: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    max_requests_in_flight: Annotated[int, Field(ge=1, le=1_000_000)] = 1500
    max_waiting: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    tls: TlsSettings = TlsSettings.model_construct()
    cors: CorsSettings = CorsSettings.model_construct()

    @property
    def address(self) -> ListenAddress:
        return parse_listen(self.listen)


class AdminSettings(Section):
    """A separate address for ``/metrics`` and the probes, which are then not served at the API's address."""

    listen: Listen | None = None

    @property
    def address(self) -> ListenAddress | None:
        """The address of metrics and probes; None when they are served at the API's address."""
        return None if self.listen is None else parse_listen(self.listen)


class LogSettings(Section):
    """The lowest level that is logged, and the format of a line."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"


def _forward_rule(text: str) -> str:
    if " " in text or not text.isidentifier():
        Rule.parse(text)
    return text


class DialectRouteSettings(Section):
    """Which provider serves a scope in a dialect. ``scope`` is the scope in the caller's path, ``target_scope`` the
    scope at the provider (default: the same). ``era`` limits the rule to one of the eras that the dialect's routes
    declare."""

    scope: Annotated[str, Field(min_length=1, max_length=200)]
    provider: KeyName
    target_scope: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    era: Annotated[str, Field(min_length=1, max_length=200)] | None = None


class DialectSettings(Section):
    """How one dialect finds its providers. The first matching route decides. Without a match, the provider pinned to
    the scope serves it, else the first open provider. ``forward`` lists the requests (``METHOD /path`` below the
    dialect's prefix, or the name of a preset) that no route serves and that go to the provider as they are."""

    routes: list[DialectRouteSettings] = []
    forward: list[Annotated[str, AfterValidator(_forward_rule)]] = []


class Settings(Section):
    """All settings. Raises pydantic's ``ValidationError`` for sections that contradict each other."""

    version: Literal[1] = 1
    http: HttpSettings = HttpSettings.model_construct()
    admin: AdminSettings = AdminSettings.model_construct()
    console: bool = True
    auth: AuthSettings | Literal["none"]
    log: LogSettings = LogSettings.model_construct()
    reload: ReloadSettings = ReloadSettings.model_construct()
    health: HealthSettings = HealthSettings.model_construct()
    shutdown: ShutdownSettings = ShutdownSettings.model_construct()
    store: StoreSettings = StoreSettings.model_construct()
    creates: CreatesSettings = CreatesSettings.model_construct()
    cache: CacheSettings = CacheSettings.model_construct()
    usage: UsageSettings = UsageSettings.model_construct()
    limits: LimitsSettings = LimitsSettings.model_construct()
    data: DataSettings = DataSettings.model_construct()
    audit: AuditSettings = AuditSettings.model_construct()
    dialects: dict[Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,40}$")], DialectSettings] = {}
    providers: Annotated[dict[str, SerializeAsAny[ProviderSettings]], Field(min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for at, message in contradictions(self.http, self.admin, self.auth, self.providers, self.dialects):
            raise ValueError(f"{'.'.join(at)}: {message}")
        return self


def contradictions(
    http: HttpSettings | None,
    admin: AdminSettings | None,
    auth: AuthSettings | str | None,
    providers: Mapping[str, ProviderSettings],
    dialects: Mapping[str, DialectSettings],
) -> Iterator[tuple[Path, str]]:
    """Yield the path and message of each contradiction between sections. A section with faults of its own is passed as
    None."""
    if http is not None and auth == NO_AUTH and not http.address.is_loopback:
        yield ("auth",), f"none is for loopback addresses only, and http.listen is {http.listen}; add auth.keys"
    if http is not None and admin is not None and admin.listen == http.listen and http.address.port:
        yield ("admin", "listen"), "this is the address of http.listen; remove this setting to serve both there"
    if isinstance(auth, AuthSettings):
        yield from ambiguous_principals(auth)
        yield from issuer_faults(auth.jwt, {one.name: one for one in auth.digests_by_principal()})
    yield from _shared_accounts(providers)
    for name, dialect in dialects.items():
        for index, route in enumerate(dialect.routes):
            for member, message in _route_faults(route, providers):
                yield ("dialects", name, "routes", str(index), member), message


def unknown_eras(
    dialects: Mapping[str, DialectSettings], eras: Mapping[str, Collection[str]]
) -> Iterator[tuple[Path, str]]:
    """Yield the path and message of each route that names an era which its dialect does not have, and of each unknown
    preset.

    ``eras`` has the eras of each dialect by its prefix, and its presets by the prefix and ``.forward``; the caller
    passes them, because settings cannot know the adapters.
    """
    for name, dialect in dialects.items():
        presets = eras.get(f"{name}.forward", ())
        for index, entry in enumerate(dialect.forward):
            if " " not in entry and entry not in presets:
                offered = f", or one of the presets {', '.join(sorted(presets))}" if presets else ""
                yield (
                    ("dialects", name, "forward", str(index)),
                    f"this must be METHOD /path{offered}{did_you_mean(entry, presets)}",
                )
        known = eras.get(name, ())
        names = f"this must be an era of the dialect, one of: {', '.join(sorted(known))}"
        message = names if known else "the dialect has no eras; remove this setting"
        for index, route in enumerate(dialect.routes):
            if route.era is not None and route.era not in known:
                yield ("dialects", name, "routes", str(index), "era"), message + did_you_mean(route.era, known)


def _route_faults(route: DialectRouteSettings, providers: Mapping[str, ProviderSettings]) -> Iterator[tuple[str, str]]:
    if route.provider not in providers:
        yield "provider", f"there is no provider {route.provider}{did_you_mean(route.provider, providers)}"
        return
    pinned = providers[route.provider].scope
    if pinned is not None and route.target_scope not in {None, pinned}:
        yield "target_scope", f"the provider {route.provider} is pinned to the scope {pinned}; a route cannot change it"


def _shared_accounts(providers: Mapping[str, ProviderSettings]) -> Iterator[tuple[Path, str]]:
    seen: dict[tuple[str, str, str], dict[str | None, str]] = {}
    for name, provider in providers.items():
        account = (provider.api, provider.address, provider.token.get_secret_value())
        scopes = seen.setdefault(account, {})
        if provider.scope in scopes:
            yield ("providers", name), f"providers.{scopes[provider.scope]} is the same account and scope"
        elif scopes and (provider.scope is None or None in scopes):
            other = scopes.get(None) or next(iter(scopes.values()))
            yield (
                ("providers", name),
                f"providers.{other} is the same account; one of the two has no scope, so it includes the other's scope",
            )
        scopes.setdefault(provider.scope, name)
