"""The JSON of the flat era, ``/v1/runtimes``, and its translation to the current era where it has an equivalent."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from adapters.bctrl_browsers.dialect.bodies import Name
from adapters.bctrl_browsers.native import check_unmarked
from adapters.bctrl_browsers.options import NetworkTraffic, Option, check_proxy
from gateway.domain.errors import ValidationFailed
from gateway.domain.runtime import Runtime
from gateway.domain.validation import optional, validate
from gateway.domain.values import State

STATUSES: Final[Mapping[State, str]] = {
    State.STARTING: "active",
    State.RUNNING: "active",
    State.PAUSED: "active",
    State.STOPPING: "active",
    State.UNKNOWN: "active",
    State.IDLE: "stopped",
    State.STOPPED: "stopped",
    State.FAILED: "failed",
}
"""The era has three words. A runtime that has or may have compute is ``active``."""

_SAME: Final = (
    "autoUpgrade",
    "forceOpenShadowRoots",
    "headless",
    "networkTraffic",
    "proxy",
    "stealth",
    "webRtcProxyOnly",
)
_RENAMED: Final = {"extensionIds": "extensions"}
_REFUSED: Final[Mapping[str, str]] = {
    "fingerprint": "The current API has no equivalent of a fingerprint.",
    "idleTimeoutSeconds": "The current API does not document whether its timeoutSeconds means the same.",
}


class FlatConfig(Option):
    """``config``: the members that the current era has too. ``stealth`` has its values since July 2026."""

    auto_upgrade: bool = optional(False)
    extension_ids: list[str] = optional([])
    force_open_shadow_roots: bool = optional(False)
    headless: bool = optional(False)
    network_traffic: NetworkTraffic = optional(None)
    profile: bool = optional(True)
    proxy: Any = optional(None)
    stealth: Literal["normal", "best", "experimental"] = optional("normal")
    web_rtc_proxy_only: bool = optional(False)


class FlatUpdate(Option):
    name: Name = optional("")
    metadata: dict[str, Any] | None = None
    config: FlatConfig = optional(None)
    profile: bool = optional(True)
    recording: bool = optional(False)


class FlatCreate(FlatUpdate):
    type: Literal["browser"]
    space_id: str = optional("")
    start: bool = optional(True)


class FlatStart(Option):
    recording: bool = optional(False)


def current_body(body: Mapping[str, Any], model: type[FlatUpdate]) -> dict[str, Any]:
    """Translate a create or an update to the members of the current era. A proxy may have any of its forms.

    Raises :class:`ValidationFailed`, naming the member, for a body that is not valid and for a member that has no
    equivalent.
    """
    config = body.get("config")
    config = config if isinstance(config, Mapping) else {}
    for name, why in _REFUSED.items():
        if name in config:
            raise ValidationFailed.at(f"#/config/{name}", why, code="unsupported")
    flat = validate(model, body)
    check_proxy(config.get("proxy"), ("config", "proxy"), secrets=True)
    for where, holder in (("#/profile", flat), ("#/config/profile", flat.config)):
        if holder is not None and not holder.profile:
            raise ValidationFailed.at(where, "The current API keeps the state of every browser.", code="unsupported")
    if isinstance(flat, FlatCreate) and not flat.start:
        detail = "The current API launches every browser that it creates: leave start out, and stop the runtime later."
        raise ValidationFailed.at("#/start", detail, code="unsupported")
    current = {name: body[name] for name in ("name", "spaceId", "recording") if name in body}
    check_unmarked(body.get("metadata"), "metadata")
    if body.get("metadata") is not None:
        current["metadata"] = body["metadata"]
    current |= {name: config[name] for name in _SAME if name in config}
    current |= {name: config[flat_name] for flat_name, name in _RENAMED.items() if flat_name in config}
    return current


def summary(browser: Mapping[str, Any], runtime: Runtime) -> dict[str, Any]:
    """A browser as a row of a list. ``runtime`` is the same browser in the gateway's model."""
    run = browser.get("currentRun") or {}
    status = STATUSES[runtime.state]
    return {
        "id": runtime.provider_id,
        "name": browser.get("name"),
        "spaceId": browser.get("spaceId"),
        "type": "browser",
        "status": status,
        "activeRunId": run.get("id") if status == "active" else None,
        "profile": True,
        "createdAt": browser.get("createdAt"),
        "updatedAt": browser.get("updatedAt"),
        "lastActivityAt": browser.get("lastUsedAt"),
    }


def detail(browser: Mapping[str, Any], runtime: Runtime) -> dict[str, Any]:
    """A browser as the response to a call on one runtime, with its connection while there is one."""
    config = {name: browser[name] for name in _SAME if browser.get(name) is not None}
    config |= {flat: browser[name] for flat, name in _RENAMED.items() if browser.get(name) is not None}
    shown = {**summary(browser, runtime), "config": config, "metadata": browser.get("metadata")}
    urls = connection(browser, runtime)
    if urls is not None:
        shown |= {name: urls[name] for name in ("connectUrl", "protocol", "webdriverUrl") if name in urls}
    return shown


def connection(browser: Mapping[str, Any], runtime: Runtime) -> dict[str, Any] | None:
    """The ``connection`` of a running browser in the spellings of all clients of the era; None before it is ready."""
    run = browser.get("currentRun") or {}
    urls = run.get("connections") or {}
    if runtime.state is not State.RUNNING or not urls.get("cdpUrl"):
        return None
    shown = {"runId": run.get("id"), "protocol": "cdp", "connectUrl": urls["cdpUrl"], "cdpUrl": urls["cdpUrl"]}
    if urls.get("webdriverUrl"):
        shown |= {"webdriverUrl": urls["webdriverUrl"], "webDriverUrl": urls["webdriverUrl"]}
    if isinstance(run.get("recording"), Mapping):
        shown["recording"] = run["recording"]
    return shown
