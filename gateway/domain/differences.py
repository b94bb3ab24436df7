"""How a create differs from the runtime that already has its name: pointers to fields the caller sent, never values."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from gateway.domain.config import RuntimeConfig
from gateway.domain.errors import FieldError, pointer
from gateway.domain.field_errors import MAX_ERRORS, bounded
from gateway.domain.requests import CreateBrowser, CreateDurable, CreateRequest, EphemeralLaunch, ProfileLaunch
from gateway.domain.runtime import Runtime


def differing_fields(
    request: CreateRequest, existing: Runtime, config: Mapping[str, Any] | None = None
) -> tuple[FieldError, ...]:
    """The fields of ``request`` that the existing runtime contradicts, :func:`bounded`.

    Only known values can differ. ``existing`` includes what the store kept of its create where its provider does not
    report a value. ``config`` is its complete config; None where it is not known.
    """
    detail = "The runtime that has this name has another value here."
    pointers = list(_pointers(request, existing, config))
    first = [FieldError(detail, "differs", pointer=where) for where in pointers[:MAX_ERRORS]]
    return bounded(first, len(pointers))


def same_config(sent: RuntimeConfig, known: Mapping[str, Any]) -> bool:
    """Whether a provider's config is the result of a replacement with ``sent``. Both are compared with the known
    defaults filled in.

    A default that the gateway does not know counts as a difference, so False does not prove that the configs differ.
    """
    try:
        current = RuntimeConfig.model_validate(known)
    except ValidationError:
        return False
    return current.model_dump() == sent.model_dump()


def config_of(request: CreateRequest) -> RuntimeConfig | None:
    """The config that a create sends, with its labels; None if it sends none."""
    if not isinstance(request, CreateDurable) or (request.config is None and not request.sent("labels")):
        return None
    document = dict(request.config.document) if request.config is not None else {}
    if request.sent("labels"):
        document["metadata"] = {**document.get("metadata", {}), "labels": request.labels}
    return RuntimeConfig.model_validate(document)


def has_config_of(request: CreateRequest, known: Mapping[str, Any] | None) -> bool:
    """Whether the complete config of a runtime is the one that a create sends, as in :func:`same_config`. A create
    that sends none has every config."""
    sent = config_of(request)
    return sent is None or (known is not None and same_config(sent, known))


def _pointers(request: CreateRequest, existing: Runtime, config: Mapping[str, Any] | None) -> Iterator[str]:
    if request.kind != existing.kind:
        yield pointer("kind")
    elif isinstance(request, CreateDurable):
        yield from _durable(request, existing, config)
    elif isinstance(request, CreateBrowser):
        yield from _browser(request, existing)


def _durable(request: CreateDurable, existing: Runtime, config: Mapping[str, Any] | None) -> Iterator[str]:
    for field in ("display_name", "description"):
        if request.sent(field) and getattr(request, field) != getattr(existing, field):
            yield pointer(field)
    project = existing.durable.project if existing.durable else None
    if request.project is not None and project is not None and request.project not in {project.id, project.key}:
        yield pointer("project")
    labels = existing.labels
    if config is not None:
        if request.config is not None:
            yield from _changed(request.config.document, config, ("config",))
        metadata = config.get("metadata")
        labels = (metadata.get("labels") if isinstance(metadata, Mapping) else None) or {}
    yield from _labels(request, labels)


def _labels(request: CreateRequest, known: Any) -> Iterator[str]:
    if request.sent("labels") and known is not None and known != request.labels:
        yield pointer("labels")


def _changed(sent: Any, known: Any, at: tuple[str | int, ...]) -> Iterator[str]:
    """Pointers of the leaves of ``sent`` that ``known`` contradicts. Lists of different lengths differ as a whole."""
    if isinstance(sent, Mapping) and isinstance(known, Mapping):
        if not sent and known and at[-1] in {"labels", "env"}:
            yield pointer(*at)
        for key, value in sent.items():
            yield from _changed(value, known.get(key), (*at, key))
    elif isinstance(sent, list) and isinstance(known, list) and len(sent) == len(known):
        for index, (one, other) in enumerate(zip(sent, known, strict=True)):
            yield from _changed(one, other, (*at, index))
    elif sent != known and not (sent in ({}, []) and not known):
        yield pointer(*at)


def _browser(request: CreateBrowser, existing: Runtime) -> Iterator[str]:
    yield from _labels(request, existing.labels)
    browser = existing.browser
    if browser is None:
        return
    if request.sent("driver") and browser.driver is not None and request.driver != browser.driver:
        yield pointer("driver")
    launch = browser.launch
    if not request.sent("launch") or launch is None:
        return
    if launch.mode is not None and request.launch.mode != launch.mode:
        yield pointer("launch", "mode")
        return
    if isinstance(request.launch, ProfileLaunch):
        if launch.profile_id is not None and request.launch.profile_id.lower() != launch.profile_id.lower():
            yield pointer("launch", "profile_id")
    elif isinstance(request.launch, EphemeralLaunch):
        yield from _ephemeral(request.launch, launch)


def _ephemeral(sent: EphemeralLaunch, known: Any) -> Iterator[str]:
    for field in ("extension_ids", "humanize", "humanize_persona_id", "solve_captchas"):
        value = getattr(known, field)
        if sent.sent(field) and value is not None and getattr(sent, field) != value:
            yield pointer("launch", field)
    if sent.sent("proxy") and known.proxy is not None:
        if sent.proxy is None:
            yield pointer("launch", "proxy")
            return
        for field in ("type", "host", "port", "username"):
            value = getattr(known.proxy, field)
            if value is not None and sent.proxy.sent(field) and getattr(sent.proxy, field) != value:
                yield pointer("launch", "proxy", field)
