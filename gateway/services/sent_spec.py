"""The spec of a create: which sent values are stored under which key, which are shown where the provider does not
report them, and what the keeper of specs holds in memory."""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from gateway.domain.intents import namespace_of
from gateway.domain.ownership import suffix_in
from gateway.domain.requests import CreateBrowser, CreateDurable, CreateRequest, EphemeralLaunch, ProfileLaunch
from gateway.domain.runtime import ConfigDocument, Launch, Proxy, Runtime
from gateway.ports.provider import ProviderAdapter
from gateway.ports.redaction import without_secrets
from gateway.ports.sealing import Cell


class Spec(msgspec.Struct, frozen=True, omit_defaults=True):
    """The sent values that may be shown. ``config_digest`` is the digest of the config that contains the labels: if the
    runtime has another digest, the labels are outdated. ``owner`` is that of the runtime, where its name has no suffix
    that shows it."""

    labels: dict[str, str] | None = None
    config_digest: str | None = None
    driver: str | None = None
    launch: Launch | None = None
    owner: str | None = None


def spec_of(request: CreateRequest, runtime: Runtime | None = None, owner: str | None = None) -> Spec | None:
    """The spec of a create, without passwords, tokens and the config; None if there is nothing to store. ``runtime`` is
    the runtime in the response."""
    durable = runtime.durable if runtime is not None else None
    labels: dict[str, str] | None = request.labels if request.sent("labels") else None
    if labels is None and isinstance(request, CreateDurable) and request.config is not None:
        labels = request.config.metadata.labels
    driver = launch = None
    if isinstance(request, CreateBrowser):
        driver = request.driver if request.sent("driver") else None
        launch = _launch(request.launch) if request.sent("launch") else None
    if not labels and driver is None and launch is None and owner is None:
        return None
    return Spec(labels or None, durable.config_digest if durable else None, driver, launch, owner)


def _launch(sent: ProfileLaunch | EphemeralLaunch) -> Launch:
    if isinstance(sent, ProfileLaunch):
        return Launch(mode=sent.mode, profile_id=sent.profile_id)
    fields = ("extension_ids", "humanize", "humanize_persona_id", "solve_captchas")
    plain: dict[str, Any] = {field: getattr(sent, field) for field in fields if sent.sent(field)}
    proxy = None
    if sent.proxy is not None:
        proxy = Proxy(
            type=sent.proxy.type,
            host=without_secrets(sent.proxy.host),
            port=sent.proxy.port,
            username=sent.proxy.username if sent.proxy.sent("username") else None,
        )
    return Launch(mode=sent.mode, proxy=proxy, **plain)


def filled(runtime: Runtime, spec: Spec) -> Runtime:
    """The runtime, with values of the spec where its provider reports none."""
    changes: dict[str, Any] = {}
    if runtime.labels is None and spec.labels is not None and not is_outdated(runtime, spec):
        changes["labels"] = spec.labels
    if runtime.owner is None and spec.owner is not None:
        changes["owner"] = spec.owner
    browser = runtime.browser
    if browser is not None:
        driver, launch = browser.driver or spec.driver, _merged(browser.launch, spec.launch)
        if driver != browser.driver or launch is not browser.launch:
            changes["browser"] = msgspec.structs.replace(browser, driver=driver, launch=launch)
    return msgspec.structs.replace(runtime, **changes) if changes else runtime


def _merged(reported: Launch | None, sent: Launch | None) -> Launch | None:
    if reported is None or sent is None:
        return sent if reported is None else reported
    if reported.mode not in {None, sent.mode}:
        return reported
    missing = {
        field: getattr(sent, field)
        for field in Launch.__struct_fields__
        if getattr(reported, field) is None and getattr(sent, field) is not None
    }
    return msgspec.structs.replace(reported, **missing) if missing else reported


def is_outdated(runtime: Runtime, spec: Spec) -> bool:
    """Whether the labels of the spec may be outdated: a durable runtime now has another config, or an unknown one."""
    durable = runtime.durable
    return durable is not None and (durable.config_digest is None or durable.config_digest != spec.config_digest)


def leaves_out(runtime: Runtime) -> bool:
    """Whether the provider does not report a value that a create may have sent, or the owner is not known yet."""
    if runtime.owner is None and suffix_in(runtime.name) is None:
        return True
    browser = runtime.browser
    if runtime.labels is None or browser is None:
        return runtime.labels is None
    launch = browser.launch
    return browser.driver is None or launch is None or None in msgspec.structs.astuple(launch)


def labels_of(runtime: Runtime, spec: Spec | None) -> dict[str, str] | None:
    """The labels of a runtime; None if neither its provider nor its spec has them."""
    if runtime.labels is not None or spec is None or is_outdated(runtime, spec):
        return runtime.labels
    return spec.labels or {}


def config_labels(document: ConfigDocument) -> dict[str, str] | None:
    """The labels in a config; None if not all are text."""
    metadata = document.config.get("metadata") or {}
    labels = (metadata.get("labels") if isinstance(metadata, dict) else None) or {}
    if isinstance(labels, dict) and all(isinstance(value, str) for value in labels.values()):
        return labels
    return None


class SpecKey(NamedTuple):
    """The key of a spec. ``runtime_id`` is the provider's."""

    namespace: str
    runtime_id: str

    @property
    def cell(self) -> Cell:
        return Cell("specs", msgspec.json.encode(self).decode(), "sealed")


@lru_cache(maxsize=1024)
def namespace_at(api: str, address: str, scope: str) -> str:
    return namespace_of(api, address, "", scope)


def key_of(adapter: ProviderAdapter[Any], scope: str, runtime_id: str) -> SpecKey:
    return SpecKey(namespace_at(adapter.api, adapter.settings.address, scope), runtime_id)


MEMORY_BYTES: Final = 4 * 1024 * 1024
"""The approximate size of the memory cache in bytes. The least recently used specs are evicted first."""

ENTRY_BYTES: Final = 400
"""The approximate size of an entry of the memory cache beside its JSON."""

LARGEST: Final = 32 * 1024
"""The maximum size of a spec in bytes of JSON. Larger specs are not stored."""

MAX_WAITING: Final = 1000
"""The maximum number of specs that wait to be loaded, and of those that wait to be written."""

MAX_NOTHING: Final = 20_000
"""The maximum number of runtimes that are known to have no spec. If there are more, all are forgotten."""

BATCH: Final = 100
"""How many specs are loaded at once."""

ASK_AGAIN: Final = 30.0
"""Seconds until a spec that is missing or outdated in the store is loaded again."""

REST: Final = 5.0
"""Seconds for which the store is not called after a failure."""

LAST_WRITES: Final = 2.0
"""Seconds that :meth:`SpecKeeper.close` waits for specs to be written."""


class Trouble(StrEnum):
    """What can go wrong. No request fails because of it."""

    NOT_SAVED = "not_saved"  # kept in memory, and written when the store is available again
    NOT_LOADED = "not_loaded"
    UNREADABLE = "unreadable"  # its key was removed, or another version of the gateway wrote it
    TOO_LARGE = "too_large"
    TOO_MANY = "too_many"  # more than MAX_WAITING wait


@dataclass(frozen=True, slots=True)
class SpecEntry:
    """A spec in memory. ``since`` is when it was loaded, by the monotonic clock; ``size`` is in bytes."""

    spec: Spec
    since: float
    size: int

    def is_stale(self, row: Runtime, now: float) -> bool:
        """Whether the config has changed, so that another process may have stored newer labels."""
        if self.spec.labels is None or row.labels is not None or now < self.since + ASK_AGAIN:
            return False
        return is_outdated(row, self.spec)


class MadeRuntime(NamedTuple):
    """A create that made a runtime, with its ``owner`` where no suffix of its name shows it."""

    adapter: ProviderAdapter[Any]
    scope: str
    runtime: Runtime
    request: CreateRequest
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class SpecWrite:
    """What to write about a runtime of a provider. ``config`` is the JSON of its new config."""

    provider: str
    scope: str
    spec: Spec | None = None
    config: bytes | None = None
    deleted: bool = False
