"""The API's rules for the body of a create, written down independently of what the adapter sends."""

import uuid
from typing import Any, Final

_DRIVERS: Final = ("puppeteer", "playwright", "selenium", "stagehand")
_PROXY_TYPES: Final = ("http", "socks5")


def create_fault(body: Any) -> str | None:
    """The first fault of a body, None for a valid one. Undocumented members are not a fault."""
    if not isinstance(body, dict):
        return "the body must be an object"
    if not isinstance(body.get("alias"), str):
        return "alias must be a string"
    if body.get("kind") != "browser":
        return "kind must be browser"
    if "driver" in body and body["driver"] not in _DRIVERS:
        return f"driver must be one of {', '.join(_DRIVERS)}"
    return _launch_fault(body["launch"]) if "launch" in body else None


def _launch_fault(launch: Any) -> str | None:
    if not isinstance(launch, dict):
        return "launch must be an object"
    if launch.get("mode") == "profile":
        return None if _is_uuid(launch.get("profileId")) else "launch.profileId must be a UUID"
    if launch.get("mode") != "ephemeral":
        return "launch.mode must be profile or ephemeral"
    extensions = launch.get("extensionIds", [])
    if not isinstance(extensions, list) or not all(isinstance(item, str) for item in extensions):
        return "launch.extensionIds must be an array of strings"
    return _config_fault(launch["config"]) if "config" in launch else None


def _config_fault(config: Any) -> str | None:
    if not isinstance(config, dict):
        return "launch.config must be an object"
    for name in ("humanize", "solveCaptchas"):
        if not isinstance(config.get(name, False), bool):
            return f"launch.config.{name} must be a boolean"
    if not _is_integer(config.get("humanizePersonaId", 0)):
        return "launch.config.humanizePersonaId must be an integer"
    proxy = config.get("proxy")
    return None if proxy is None else _proxy_fault(proxy)


def _proxy_fault(proxy: Any) -> str | None:
    if not isinstance(proxy, dict):
        return "launch.config.proxy must be an object or null"
    if proxy.get("type") not in _PROXY_TYPES:
        return f"launch.config.proxy.type must be one of {', '.join(_PROXY_TYPES)}"
    if not isinstance(proxy.get("host"), str):
        return "launch.config.proxy.host must be a string"
    if not _is_integer(proxy.get("port")):
        return "launch.config.proxy.port must be an integer"
    for name in ("username", "password"):
        if not isinstance(proxy.get(name, ""), str):
            return f"launch.config.proxy.{name} must be a string"
    return None


def _is_integer(value: Any) -> bool:
    """Whether a value is an integer as JSON Schema defines it: ``1.0`` is one, ``true`` is not."""
    return not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))


def _is_uuid(value: Any) -> bool:
    try:
        return isinstance(value, str) and str(uuid.UUID(value)) == value.lower()
    except ValueError:
        return False
