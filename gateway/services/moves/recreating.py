"""The create that would make a runtime again at its source, from what is known of it, or at the target from a saved
state."""

from collections.abc import Mapping
from typing import Any, Final

from gateway.domain.runtime import Launch, Runtime
from gateway.domain.values import CreateFeature, Kind
from gateway.ports.provider import ProviderAdapter
from gateway.ports.semantics import DeclaresSemantics, ProviderSemantics, SupportsStateExport
from gateway.services.moves.reading import SourceFacts

_LAUNCH: Final = ("extension_ids", "humanize", "humanize_persona_id", "solve_captchas")
_PROXY: Final = ("type", "host", "port", "username")
PASSWORD: Final = "#/launch/proxy/password"  # noqa: S105 (a pointer)


def semantics_of(adapter: ProviderAdapter[Any]) -> ProviderSemantics | None:
    """The declared semantics of an adapter, if it has any."""
    return adapter.semantics if isinstance(adapter, DeclaresSemantics) else None


def recreated(facts: SourceFacts, adapter: ProviderAdapter[Any]) -> tuple[dict[str, Any], list[str]]:
    """The body of the create, with the name at the provider, and pointers to what of it is not known."""
    runtime, semantics = facts.runtime, semantics_of(adapter)
    kept = {} if facts.kept is None else dict(facts.kept)
    found = _durable(facts, kept) if runtime.kind == Kind.DURABLE else _browser(runtime, kept)
    found |= {} if semantics is None else semantics.members(runtime)
    create = {name: value for name, value in found.items() if value is not None}
    was_sent = facts.kept is not None or (facts.sent is not None and runtime.kind != Kind.DURABLE)
    unreported = () if semantics is None else semantics.unreported
    unknown = [where for where in unreported if not (was_sent or _has(create, where) or _excluded(runtime, where))]
    if _needs_password(create):
        unknown.append(PASSWORD)
    if runtime.kind == Kind.DURABLE and "config" not in create:
        unknown.append("#/config")
    return {"kind": runtime.kind, "name": runtime.name, **create}, unknown


def _durable(facts: SourceFacts, kept: Mapping[str, Any]) -> dict[str, Any]:
    """The project is named by its key, which may exist elsewhere too."""
    runtime, config = facts.runtime, facts.config
    project = runtime.durable.project if runtime.durable else None
    return {
        "display_name": None if runtime.display_name == runtime.name else runtime.display_name,
        "description": runtime.description,
        "project": kept.get("project") if project is None else project.key or project.id,
        "runtime_limit_seconds": kept.get("runtime_limit_seconds"),
        "labels": kept.get("labels") if config is None else None,
        "config": kept.get("config") if config is None else config.config,
    }


def _browser(runtime: Runtime, kept: Mapping[str, Any]) -> dict[str, Any]:
    browser = runtime.browser
    launch = None if browser is None or browser.launch is None else _launch(browser.launch, kept.get("launch") or {})
    return {
        "driver": (browser.driver if browser else None) or kept.get("driver"),
        "labels": runtime.labels or kept.get("labels") or None,
        "launch": launch or kept.get("launch"),
        "provider_options": kept.get("provider_options") or None,
    }


def _launch(known: Launch, kept: Mapping[str, Any]) -> dict[str, Any] | None:
    """The member ``launch``; None if nothing of it is known. The password of a proxy is only in the create."""
    if known.profile_id is not None:
        return {"mode": "profile", "profile_id": known.profile_id}
    fields = {name: getattr(known, name) for name in _LAUNCH if getattr(known, name) is not None}
    proxy = None if known.proxy is None else {name: getattr(known.proxy, name) for name in _PROXY}
    sent = kept.get("proxy")
    if proxy is not None:
        proxy = {name: value for name, value in proxy.items() if value is not None}
        is_same = sent is not None and all(sent.get(name) == proxy.get(name) for name in ("host", "port", "username"))
        fields["proxy"] = sent if is_same else proxy
    elif sent is not None:
        fields["proxy"] = sent
    if not fields and known.mode is None:
        return None
    return {"mode": "ephemeral", **{name: kept[name] for name in _LAUNCH if name in kept}, **fields}


def _needs_password(create: Mapping[str, Any]) -> bool:
    proxy = (create.get("launch") or {}).get("proxy") or {}
    return "username" in proxy and "password" not in proxy


def _has(create: Mapping[str, Any], where: str) -> bool:
    value: Any = create
    for name in where.removeprefix("#/").split("/"):
        if not isinstance(value, Mapping) or name not in value:
            return False
        value = value[name]
    return True


def _excluded(runtime: Runtime, where: str) -> bool:
    """Whether a runtime cannot have a member: a launch with a profile has none of the others, and an instance shows its
    time limit, also if none was sent."""
    launch = runtime.browser.launch if runtime.browser else None
    if where.startswith("#/launch/"):
        return launch is not None and launch.profile_id is not None
    return where == "#/runtime_limit_seconds" and runtime.instance_id is not None


def carry_state(
    create: dict[str, Any], runtime: Runtime, source: ProviderAdapter[Any], *, runs: bool, waits: bool
) -> bool:
    """Let the create start from the state of the runtime, in the same account, if its API has that. ``waits``: the move
    waits for the end of the run. Returns whether all of the state is carried: what a run has not saved is not."""
    semantics = semantics_of(source)
    if not isinstance(semantics, SupportsStateExport):
        return False
    saved = semantics.saved_state(runtime, ended=waits)
    for name, value in semantics.start_from(saved).items() if saved is not None else ():
        create[name] = {**(create.get(name) or {}), **value}
    return saved is not None and (waits or not runs)


def place_saved_state(create: dict[str, Any], target: ProviderAdapter[Any], *, usable: bool) -> bool:
    """Name a saved state as the target does, or leave it out if it is not ``usable`` there. Returns whether the create
    starts from one."""
    launch, semantics = create.get("launch") or {}, semantics_of(target)
    if launch.get("mode") != "profile":
        return False
    saved = launch.get("profile_id") if usable else None
    if saved and CreateFeature.LAUNCH_PROFILE in target.features:
        return True
    create["launch"] = {"mode": "ephemeral"}
    members = semantics.start_from(saved) if saved and semantics is not None else {}
    for name, value in members.items():
        create[name] = {**(create.get(name) or {}), **value}
    return bool(members)
