"""Reads the settings file and the environment into typed settings."""

from gateway.settings.access import AuthSettings, GatewayKey, PrincipalSettings
from gateway.settings.audit import AuditSettings
from gateway.settings.cors import CorsSettings
from gateway.settings.data import DataSettings
from gateway.settings.limits import LimitsSettings
from gateway.settings.listen import ListenAddress, parse_listen
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
from gateway.settings.problems import Problem, SettingsError
from gateway.settings.service import CacheSettings, HealthSettings, ShutdownSettings
from gateway.settings.source import SettingsSource, effective
from gateway.settings.store import CreatesSettings, StoreSettings
from gateway.settings.tls import TlsFault, TlsSettings

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
