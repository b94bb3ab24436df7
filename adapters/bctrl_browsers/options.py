"""``provider_options`` of a create: the fields of the provider's own create that the model has no field for, and those
that refer to something of the account or bound a lifetime.

They are checked in the provider's spelling and then sent unchanged. Fields of the model (``name``, the space, a proxy's
password) are not accepted here, and a value that was sent in both places is refused.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from adapters.bctrl_browsers.native import check_unmarked
from gateway.domain.config import NonEmpty, Port
from gateway.domain.constraint_rules import lifetime_faults
from gateway.domain.constraints import Allowance, Reference, ReferenceKind
from gateway.domain.errors import FieldError, ValidationFailed, pointer
from gateway.domain.requests import CreateBrowser, EphemeralLaunch
from gateway.domain.validation import INTEGRAL, Input, Integer, optional, validate

_AT: Final = "provider_options"

Number = Annotated[float, Field(allow_inf_nan=False)]
Pixels = Annotated[int, Field(ge=1), INTEGRAL]


class Option(Input):
    """Base of the provider's objects, in the provider's spelling of members."""

    model_config = ConfigDict(alias_generator=to_camel)


class Viewport(Option):
    width: Pixels
    height: Pixels


class Captcha(Option):
    auto_solve: bool = optional(False)


class Audit(Option):
    """The detail in which file writes are recorded."""

    files: Literal["summary", "full"]


class NetworkTraffic(Option):
    """The resources that the browser may load."""

    block_ads: bool = optional(False)
    block_trackers: bool = optional(False)
    block_resource_types: list[Literal["media", "texttrack", "font", "image", "ping", "prefetch", "beacon"]] = optional(
        []
    )
    saver: Literal["none", "light", "medium", "high"] = optional("none")
    url_allowlist: list[str] = optional([])
    url_blocklist: list[str] = optional([])


class Options(Option):
    """All members of ``provider_options``. ``proxy`` is checked by its form (:data:`_PROXIES`)."""

    audit: Audit = optional(None)
    auto_upgrade: bool = optional(False)
    captcha: Captcha = optional(None)
    expire_after_idle_days: Integer = optional(0)
    extensions: list[str] = optional([])
    force_open_shadow_roots: bool = optional(False)
    from_browser: NonEmpty = optional("")
    gpu: bool = optional(False)
    headless: bool = optional(False)
    location: NonEmpty = optional("")
    metadata: dict[str, Any] = optional({})
    network_traffic: NetworkTraffic = optional(None)
    persona: Literal["same", "new"] = optional("same")
    proxy: Any = optional(None)
    recording: bool = optional(False)
    standby_after_seconds: Number = optional(0)
    stealth: Literal["normal", "best", "experimental"] = optional("normal")
    timeout_seconds: Integer = optional(0)
    viewport: Viewport = optional(None)
    web_rtc_proxy_only: bool = optional(False)

    @model_validator(mode="after")
    def _copy_names_its_persona(self) -> Self:
        if self.sent("from_browser") and not self.sent("persona"):
            raise ValueError("fromBrowser needs persona")
        return self


class _Routing(Option):
    dns_resolution: Literal["local", "proxy"] = optional("proxy")
    udp_mode: Literal["disabled", "auto", "required"] = optional("auto")


class _Custom(_Routing):
    type: Literal["custom"] = optional("custom")
    username: str = optional("")


class HostProxy(_Custom):
    host: NonEmpty
    port: Port
    protocol: Literal["http", "socks5"]


class UrlProxy(_Custom):
    url: NonEmpty


class SavedProxy(_Routing):
    """A proxy that is saved at the provider, with the members that may override it."""

    id: NonEmpty
    pool: NonEmpty = optional("")
    protocol: Literal["http", "socks5"] = optional("http")
    city: str = optional("")
    country: str = optional("")
    device: str = optional("")
    geo_id: str = optional("")
    ip_family: str = optional("")
    isp: str = optional("")
    preference: str = optional("")
    region: str = optional("")
    rotation: str = optional("")
    state: str = optional("")
    sticky_key: str = optional("")


class ManagedProxy(SavedProxy):
    """A rotating proxy that the provider manages."""

    type: Literal["managed-rotating"]
    id: NonEmpty = optional("")


_PROXIES: Final[tuple[tuple[str, type[Option]], ...]] = (
    ("host", HostProxy),
    ("url", UrlProxy),
    ("type", ManagedProxy),
    ("id", SavedProxy),
)
"""The form of a proxy is that of the first of these members that it has."""

_TWICE: Final[Mapping[str, str]] = {"extension_ids": "extensions", "solve_captchas": "captcha", "proxy": "proxy"}


def check_options(request: CreateBrowser) -> None:
    """Raise :class:`ValidationFailed` for options that do not exist, are not valid or were also sent in a field of the
    model, and for reserved names in metadata or labels."""
    given = request.provider_options
    validate(Options, given, at=(_AT,))
    check_unmarked(given.get("metadata"), _AT, "metadata")
    check_unmarked(request.labels, "labels")
    if "proxy" in given:
        check_proxy(given["proxy"], (_AT, "proxy"))
    if twice := list(_given_twice(request)):
        detail = "The same was given in another field of the request."
        errors = [FieldError(detail, "given_twice", pointer=pointer(_AT, name)) for name in twice]
        raise ValidationFailed(f"{errors[0].pointer}: {detail}", errors=errors)


def check_proxy(proxy: Any, at: tuple[str, ...], *, secrets: bool = False) -> None:
    """Raise :class:`ValidationFailed` for a value that has none of the forms of a proxy and, unless ``secrets`` is
    true, for a proxy with credentials. ``at`` is its path in the body."""
    if proxy is None:
        return
    if isinstance(proxy, str):
        _check_url(proxy, at, secrets=secrets)
        return
    form = next((form for member, form in _PROXIES if isinstance(proxy, dict) and member in proxy), None)
    if form is None:
        raise ValidationFailed.at(pointer(*at), "A proxy is a URL, or an object with host, url, id or type.")
    if "password" in proxy and not secrets:
        raise _secret((*at, "password"))
    if issubclass(form, _Custom) and not isinstance(proxy.get("password", ""), str):
        raise ValidationFailed.at(pointer(*at, "password"), "Input should be a valid string.", code="string_type")
    known = {name: value for name, value in proxy.items() if name != "password" or not issubclass(form, _Custom)}
    validate(form, known, at=at)
    if form is UrlProxy:
        _check_url(proxy["url"], (*at, "url"), secrets=secrets)


def _check_url(url: str, at: tuple[str, ...], *, secrets: bool) -> None:
    try:
        parts = urlsplit(url)
        complete = bool(parts.hostname and parts.port)
    except ValueError:
        complete = False
    if not complete or parts.scheme not in {"http", "socks5"}:
        raise ValidationFailed.at(pointer(*at), "A proxy's URL is http:// or socks5:// with a host and a port.")
    if "@" in parts.netloc and not secrets:
        raise _secret(at)


def _secret(at: tuple[str, ...]) -> ValidationFailed:
    detail = "A proxy with credentials goes into launch.proxy, where they are kept secret."
    return ValidationFailed.at(pointer(*at), detail, code="secret")


def _given_twice(request: CreateBrowser) -> Iterator[str]:
    given = request.provider_options
    if request.sent("labels") and "metadata" in given:
        yield "metadata"
    if request.sent("launch") and isinstance(request.launch, EphemeralLaunch):
        for field, name in _TWICE.items():
            if request.launch.sent(field) and name in given:
                yield name


# No other form: parsers disagree about what is the host of a URL with a backslash, a tab or two signs "@".
_URL: Final = re.compile(
    r"(?:http|socks5)://(?:[^@/?#\\\s]*@)?(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}/?", re.ASCII
)


def refused_members(body: Mapping[str, Any], allowance: Allowance, *at: str) -> Iterator[FieldError]:
    """The faults of a body in the provider's own members, which need not be valid otherwise. ``at`` is its path."""
    yield from allowance.refused(_references(body, at))
    seconds = body.get("timeoutSeconds")
    if isinstance(seconds, int | float):
        yield from lifetime_faults(allowance, seconds, pointer(*at, "timeoutSeconds"))


def _references(body: Mapping[str, Any], at: tuple[str, ...]) -> Iterator[Reference]:
    """A browser that is copied counts as a profile. Saved and managed proxies cannot be allowed."""
    extensions = body.get("extensions")
    for index, extension in enumerate(extensions if isinstance(extensions, list) else ()):
        yield Reference(ReferenceKind.EXTENSION, _text(extension), pointer(*at, "extensions", index))
    if (copied := body.get("fromBrowser")) is not None:
        yield Reference(ReferenceKind.PROFILE, _text(copied), pointer(*at, "fromBrowser"))
    if (proxy := body.get("proxy")) is not None:
        yield Reference(ReferenceKind.PROXY_HOST, _host(proxy), pointer(*at, "proxy"))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _host(proxy: Any) -> str | None:
    """The host of a proxy with an address of its own; None for any other form, and for more than one address."""
    if isinstance(proxy, Mapping):
        if proxy.keys() & {"id", "pool"} or proxy.get("type", "custom") != "custom" or {"host", "url"} <= proxy.keys():
            return None
        if "host" in proxy:
            return _text(proxy["host"])
        proxy = proxy.get("url")
    match = _URL.fullmatch(proxy) if isinstance(proxy, str) else None
    return match["host"] if match else None
