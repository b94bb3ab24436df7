"""Reads the settings file and the environment into typed settings."""

from gateway.settings.access import AuthSettings, GatewayKey, PrincipalSettings
from gateway.settings.document import Problem, SettingsError
from gateway.settings.limits import CacheSettings, HealthSettings, LimitsSettings, ShutdownSettings
from gateway.settings.listen import CorsSettings, DataSettings, ListenAddress, TlsFault, TlsSettings, parse_listen
from gateway.settings.loader import LoadedSettings, load_settings, load_store_settings
from gateway.settings.model import (
    NO_AUTH,
    AdminSettings,
    DialectRouteSettings,
    DialectSettings,
    HttpSettings,
    LogSettings,
    Settings,
)
from gateway.settings.source import SettingsSource, effective
from gateway.settings.store import AuditSettings, CreatesSettings, StoreSettings

__all__ = [
    "NO_AUTH",
    "AdminSettings",
    "AuditSettings",
    "AuthSettings",
    "CacheSettings",
    "CorsSettings",
    "CreatesSettings",
    "DataSettings",
    "DialectRouteSettings",
    "DialectSettings",
    "GatewayKey",
    "HealthSettings",
    "HttpSettings",
    "LimitsSettings",
    "ListenAddress",
    "LoadedSettings",
    "LogSettings",
    "PrincipalSettings",
    "Problem",
    "Settings",
    "SettingsError",
    "SettingsSource",
    "ShutdownSettings",
    "StoreSettings",
    "TlsFault",
    "TlsSettings",
    "effective",
    "load_settings",
    "load_store_settings",
    "parse_listen",
]
