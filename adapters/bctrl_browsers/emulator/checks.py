"""The API's rules for bodies, written down independently of what the adapter sends."""

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

Check = Callable[[Any], bool]


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _null(value: Any) -> bool:
    return value is None


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _integer(value: Any) -> bool:
    return _number(value) and float(value).is_integer()


def _positive(value: Any) -> bool:
    return _integer(value) and value > 0


def _name(value: Any) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= 200


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _json_object(value: Any) -> bool:
    return isinstance(value, dict)


def _one_of(*choices: str) -> Check:
    return lambda value: isinstance(value, str) and value in choices


def _object(*, required: Mapping[str, Check] | None = None, **optional: Check) -> Check:
    needed = required or {}
    known = {**needed, **optional}

    def check(value: Any) -> bool:
        return (
            isinstance(value, dict)
            and needed.keys() <= value.keys() <= known.keys()
            and all(known[name](member) for name, member in value.items())
        )

    return check


def _blockable(value: Any) -> bool:
    kinds = {"media", "texttrack", "font", "image", "ping", "prefetch", "beacon"}
    return _texts(value) and set(value) <= kinds


def _proxy_url(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        parts = urlsplit(value)
        return parts.scheme in {"http", "socks5"} and bool(parts.hostname) and parts.port is not None
    except ValueError:
        return False


_PROTOCOL: Final = _one_of("http", "socks5")
_ROUTING: Final = {"dnsResolution": _one_of("local", "proxy"), "udpMode": _one_of("disabled", "auto", "required")}
_CUSTOM: Final = {"type": _one_of("custom"), "username": _text, "password": _text, **_ROUTING}
_PLACE: Final = {"city": _text, "country": _text, "geoId": _text, "region": _text, "state": _text, "isp": _text}
_POOL: Final = {
    **_PLACE,
    "pool": _text,
    "device": _text,
    "ipFamily": _text,
    "preference": _text,
    "rotation": _text,
    "stickyKey": _text,
}
_PROXIES: Final[tuple[Check, ...]] = (
    _null,
    _proxy_url,
    _object(required={"host": _text, "port": _positive, "protocol": _PROTOCOL}, **_CUSTOM),
    _object(required={"url": _proxy_url}, **_CUSTOM),
    _object(required={"id": _text}, protocol=_PROTOCOL, **_ROUTING, **_POOL),
    _object(required={"type": _one_of("managed-rotating")}, protocol=_PROTOCOL, **_ROUTING, **_POOL),
)


def _proxy(value: Any) -> bool:
    return any(form(value) for form in _PROXIES)


UPDATE: Final[Mapping[str, Check]] = {
    "name": _name,
    "audit": _object(required={"files": _one_of("summary", "full")}),
    "autoUpgrade": _flag,
    "captcha": _object(autoSolve=_flag),
    "expireAfterIdleDays": _positive,
    "extensions": _texts,
    "forceOpenShadowRoots": _flag,
    "gpu": _flag,
    "headless": _flag,
    "location": _text,
    "metadata": _json_object,
    "networkTraffic": _object(
        blockAds=_flag,
        blockTrackers=_flag,
        blockResourceTypes=_blockable,
        saver=_one_of("none", "light", "medium", "high"),
        urlAllowlist=_texts,
        urlBlocklist=_texts,
    ),
    "proxy": _proxy,
    "recording": _flag,
    "standbyAfterSeconds": lambda value: _number(value) and value == 0,  # "standby is currently disabled; use 0"
    "stealth": _one_of("normal", "best", "experimental"),
    "timeoutSeconds": _positive,
    "viewport": _object(required={"width": _positive, "height": _positive}),
    "webRtcProxyOnly": _flag,
}
"""The members of an update."""

CREATE: Final[Mapping[str, Check]] = {
    **UPDATE,
    "spaceId": _text,
    "fromBrowser": _text,
    "persona": _one_of("same", "new"),
}
"""The members of a create."""

START: Final[Mapping[str, Check]] = {}
STOP: Final[Mapping[str, Check]] = {"discardState": _flag}


def fault(body: Any, members: Mapping[str, Check]) -> str | None:
    """The first fault of a body, None for a valid one. A missing body is valid."""
    if body is None:
        return None
    if not isinstance(body, dict):
        return "the body must be an object"
    for name, value in body.items():
        if name not in members:
            return f"there is no {name} here"
        if not members[name](value):
            return f"{name} is not valid"
    return None
