"""The API's rules for bodies, written down independently of what the adapter sends."""

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from gateway.testing.exchange import Integer


def _proxy_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "socks5"} or not parts.hostname or parts.port is None:
        raise ValueError("a proxy is http://HOST:PORT or socks5://HOST:PORT")
    return value


Positive = Annotated[Integer, Field(gt=0)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
ProxyUrl = Annotated[str, AfterValidator(_proxy_url)]
Protocol = Literal["http", "socks5"]


class Body(BaseModel):
    """Base of all objects. Unknown members are a fault, and so is null where it is not named."""

    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


class Audit(Body):
    files: Literal["summary", "full"]


class Captcha(Body):
    auto_solve: bool = False


class NetworkTraffic(Body):
    block_ads: bool = False
    block_trackers: bool = False
    block_resource_types: list[Literal["media", "texttrack", "font", "image", "ping", "prefetch", "beacon"]] = []
    saver: Literal["none", "light", "medium", "high"] = "none"
    url_allowlist: list[str] = []
    url_blocklist: list[str] = []


class Viewport(Body):
    width: Positive
    height: Positive


class Routing(Body):
    dns_resolution: Literal["local", "proxy"] = "local"
    udp_mode: Literal["disabled", "auto", "required"] = "disabled"


class CustomProxy(Routing):
    type: Literal["custom"] = "custom"
    username: str = ""
    password: str = ""


class ProxyAtHost(CustomProxy):
    host: str
    port: Positive
    protocol: Protocol


class ProxyAtUrl(CustomProxy):
    url: ProxyUrl


class PoolProxy(Routing):
    protocol: Protocol = "http"
    city: str = ""
    country: str = ""
    geo_id: str = ""
    region: str = ""
    state: str = ""
    isp: str = ""
    pool: str = ""
    device: str = ""
    ip_family: str = ""
    preference: str = ""
    rotation: str = ""
    sticky_key: str = ""


class SavedProxy(PoolProxy):
    id: str


class RotatingProxy(PoolProxy):
    type: Literal["managed-rotating"]


class Update(Body):
    """The members of an update, with their defaults in a new browser where it shows them."""

    name: Name = "name"
    audit: Audit = Audit(files="summary")
    auto_upgrade: bool = True
    captcha: Captcha = Captcha()
    expire_after_idle_days: Positive = 7
    extensions: list[str] = []
    force_open_shadow_roots: bool = False
    gpu: bool = False
    headless: bool = False
    location: str = "auto"
    metadata: dict[str, Any] = {}
    network_traffic: NetworkTraffic = NetworkTraffic()
    proxy: ProxyUrl | ProxyAtHost | ProxyAtUrl | SavedProxy | RotatingProxy | None = None
    recording: bool = True
    standby_after_seconds: Annotated[float, Field(ge=0, le=0)] = 0  # "standby is currently disabled; use 0"
    stealth: Literal["normal", "best", "experimental"] = "normal"
    timeout_seconds: Positive = 3600
    viewport: Viewport = Viewport(width=1920, height=1080)
    web_rtc_proxy_only: bool = True


class Create(Update):
    space_id: str = ""
    from_browser: str = ""
    persona: Literal["same", "new"] = "same"


class Start(Body):
    """A start has no members."""


class Stop(Body):
    discard_state: bool = False


class FlatBody(Body):
    """The members of a create or an update in the flat era."""

    type: Literal["browser"] = "browser"
    name: Name = "name"
    space_id: str = ""
    metadata: dict[str, Any] | None = None
    config: dict[str, Any] = {}
    profile: bool = False
    recording: bool = False
    start: bool = False
