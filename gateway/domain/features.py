"""The names of what a provider can do. A provider's features are derived from its adapter class by
:func:`gateway.ports.provider.derive_features`."""

from enum import StrEnum


class Feature(StrEnum):
    """Features that a verb or a part of the API requires."""

    CONFIG = "config"
    CAPABILITY_BINDINGS = "capability_bindings"
    START = "start"
    PAUSE = "pause"
    STOP = "stop"
    STOP_DISCARDS_STATE = "stop_discards_state"
    RESET = "reset"
    KEEPALIVE = "keepalive"
    CONNECTIONS = "connections"
    DELETE = "delete"


class CreateFeature(StrEnum):
    """Features that fields of a create require (:meth:`gateway.domain.requests.CreateRequest.requirements`)."""

    LAUNCH_ON_CREATE = "launch_on_create"  # a create also starts compute
    CREATE_IDLE = "create_idle"  # a create can make a runtime without compute
    DISPLAY_NAME = "display_name"
    DESCRIPTION = "description"
    PROJECT = "project"
    LABELS = "labels"
    RUNTIME_LIMIT = "runtime_limit_seconds"
    CONFIG_V2 = "config_v2"
    DRIVER_PUPPETEER = "driver_puppeteer"
    DRIVER_PLAYWRIGHT = "driver_playwright"
    DRIVER_SELENIUM = "driver_selenium"
    DRIVER_STAGEHAND = "driver_stagehand"
    LAUNCH_PROFILE = "launch_profile"
    LAUNCH_EPHEMERAL = "launch_ephemeral"
    EXTENSIONS = "extension_ids"
    HUMANIZE = "humanize"
    HUMANIZE_PERSONA = "humanize_persona_id"
    SOLVE_CAPTCHAS = "solve_captchas"
    PROXY_HTTP = "proxy_http"
    PROXY_SOCKS5 = "proxy_socks5"
