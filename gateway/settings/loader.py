"""Loads the settings from all sources, or reports every fault at once."""

import os
import re
import ssl
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, Final, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from gateway.domain.base_urls import is_unprotected
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.section import Section
from gateway.settings.access import MANY, ONE, AuthSettings, GatewayKey, PrincipalSettings
from gateway.settings.document import (
    Document,
    Path,
    Problem,
    Problems,
    SettingsError,
    did_you_mean,
    read_document,
    suggestion,
)
from gateway.settings.environment import apply_environment
from gateway.settings.listen import TlsFault, TlsSettings
from gateway.settings.model import NO_AUTH, DialectSettings, HttpSettings, Settings, contradictions, unknown_eras
from gateway.settings.secret_files import Stamp, stamp, with_secret_files
from gateway.settings.store import StoreSettings

ModelT = TypeVar("ModelT", bound=BaseModel)

_ADD_KEYS: Final = "add auth.keys, or spell out auth: none"
_NOT_NAMES: Final = frozenset({"[key]", ONE, MANY})  # parts of pydantic's paths that no file has
_DIALECT: Final = re.compile(r"[a-z0-9_-]{1,40}\Z")
_SECTIONS: Final[Mapping[str, type[GatewayKey | PrincipalSettings]]] = {
    "keys": GatewayKey,
    "principals": PrincipalSettings,
}
_SWITCH: Final = TypeAdapter(bool, config={"defer_build": True, "hide_input_in_errors": True})
_MESSAGES: Final = {"missing": "this setting is required", "extra_forbidden": "there is no setting of this name"}


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """The settings and where they came from.

    ``origins`` has the origin of each value that is not a default, by dotted path. ``files`` has every file that was
    read or that the settings name, with its stamp at that time. ``warnings`` are no faults, but deserve attention.
    """

    settings: Settings
    origins: Mapping[str, str]
    files: Mapping[FilePath, Stamp]
    warnings: tuple[Problem, ...] = ()


def load_settings(
    path: str | os.PathLike[str],
    *,
    provider_models: Mapping[str, type[ProviderSettings]],
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
    dialect_eras: Mapping[str, Collection[str]] | None = None,
) -> LoadedSettings:
    """Read the settings file; ``RTGW_…`` variables override it, and ``overrides`` (flags, by dotted path) both.

    ``provider_models`` has the settings class of each provider API, ``dialect_eras`` the eras of each dialect by its
    prefix; without it, eras are not checked here (``create_app`` checks them too). ``environ`` defaults to the
    environment of the process. Raises :class:`SettingsError` with every fault of every source.
    """
    file = FilePath(path)
    environ = os.environ if environ is None else environ
    problems = Problems()
    files = {file: stamp(file)}
    document = read_document(file, environ, problems)
    unread = document is None
    document = document or Document()
    service_links = apply_environment(document, environ, provider_models, problems)
    for dotted, value in (overrides or {}).items():
        _override(document, tuple(dotted.split(".")), value)
    if not unread:
        settings = _Reader(document.values, file.parent, provider_models, problems, files).settings(dialect_eras)
        if settings is not None:
            origins = {".".join(at): origin for at, origin in document.origins.items()}
            return LoadedSettings(settings, origins, files, tuple(_warnings(settings, service_links)))
    raise SettingsError(problems.with_origins(document.origins), files)


def load_store_settings(path: str | os.PathLike[str], *, environ: Mapping[str, str] | None = None) -> StoreSettings:
    """Read only the section ``store``, for commands that use nothing but the store: faults and unreadable secrets of
    other sections do not matter. Raises :class:`SettingsError` with every fault of this section."""
    file = FilePath(path)
    environ = os.environ if environ is None else environ
    problems = Problems()
    document = read_document(file, environ, problems, only={"version", "store"}) or Document()
    own = {name: value for name, value in environ.items() if name.upper().partition("__")[0] == "RTGW_STORE"}
    apply_environment(document, own, {}, problems)
    if not problems:
        store = _Reader(document.values, file.parent, {}, problems, {}).store()
        if store is not None:
            return store
    raise SettingsError(problems.with_origins(document.origins))


def _warnings(settings: Settings, service_links: Collection[str]) -> Iterator[Problem]:
    if service_links:
        names = ", ".join(service_links)
        advice = "set enableServiceLinks: false in the pod to omit them"
        yield Problem("environment", f"variables of Kubernetes Services are ignored: {names}; {advice}")
    for name, provider in settings.providers.items():
        if is_unprotected(provider.base_url):
            detail = "the token is sent unencrypted, over http:// to a host beyond this machine; use https://"
            yield Problem(f"providers.{name}.base_url", detail)


def _override(document: Document, at: Path, value: object) -> None:
    section = document.values
    for part in at[:-1]:
        if not isinstance(section.get(part), dict):
            section[part] = {}
        section = section[part]
    section[at[-1]] = value
    document.origins[at] = "flag"


@dataclass(frozen=True, slots=True, repr=False)
class _Reader:
    """Validates section by section, so that a fault in one section does not hide the faults of the others."""

    _values: dict[str, Any]
    _folder: FilePath
    _provider_models: Mapping[str, type[ProviderSettings]]
    _problems: Problems
    _files: dict[FilePath, Stamp]

    def settings(self, dialect_eras: Mapping[str, Collection[str]] | None) -> Settings | None:
        """Return the settings, or None when there are problems. ``dialect_eras`` is that of :func:`load_settings`."""
        read: dict[str, Any] = {}
        self._version()
        for name in self._values:
            if name not in Settings.model_fields:
                self._problems.add((name,), _MESSAGES["extra_forbidden"] + did_you_mean(name, Settings.model_fields))
        for name, field in Settings.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
                read[name] = self._validated(field.annotation, self._values.get(name), (name,))
            elif field.annotation is bool:
                read[name] = self._switch(name, default=field.default)
        if read["store"] is not None:
            read["store"] = read["store"].relative_to(self._folder)
            if (audit := read["audit"]) is not None:
                journal = audit.folder(read["store"], self._folder.absolute())
                read["audit"] = audit.model_copy(update={"journal": journal})
        if read["http"] is not None:
            read["http"] = read["http"].model_copy(update={"tls": self._tls(read["http"].tls, ("http", "tls"))})
        read["auth"] = self._auth()
        read["providers"] = self._providers()
        read["dialects"] = self._dialects()
        checked = {name: read[name] for name in ("http", "admin", "auth", "providers", "dialects")}
        checked["http"] = checked["http"] or self._http_address()
        eras = () if dialect_eras is None else unknown_eras(read["dialects"], dialect_eras)
        for at, message in (*contradictions(**checked), *eras):
            self._problems.add(at, message)
        return None if self._problems else Settings.model_construct(None, **read)  # all of it is validated

    def store(self) -> StoreSettings | None:
        """Return the section ``store``, or None when there are problems."""
        self._version()
        store = self._validated(StoreSettings, self._values.get("store"), ("store",))
        return None if self._problems or store is None else store.relative_to(self._folder)

    def _http_address(self) -> HttpSettings | None:
        """Return the http section with its address only, for checks when another of its settings has a fault."""
        section: Any = self._values.get("http")
        try:
            return HttpSettings.model_validate({"listen": section["listen"]})
        except (KeyError, TypeError, ValidationError):
            return None  # its own fault is already reported, or it is the default, which contradicts nothing

    def _version(self) -> None:
        version = self._values.get("version")
        if version is None:
            self._problems.add(("version",), "this setting is required; write version: 1")
        elif version != 1 or isinstance(version, bool):
            self._problems.add(("version",), "this gateway reads version 1 only")

    def _switch(self, name: str, *, default: bool) -> bool:
        """Return a setting that is true or false and in no section."""
        value = self._values.get(name)
        try:
            return _SWITCH.validate_python(default if value is None else value)
        except ValidationError as exc:
            (error,) = exc.errors(include_url=False)
            self._problems.add((name,), _message(error["type"], error["msg"]))
            return default

    def _auth(self) -> AuthSettings | str | None:
        value = self._values.get("auth")
        if value == NO_AUTH:
            return NO_AUTH
        if not value or (isinstance(value, dict) and value.keys() <= _SECTIONS.keys() and not any(value.values())):
            self._problems.add(("auth",), _ADD_KEYS)
            return None
        if not isinstance(value, dict):
            self._problems.add(("auth",), f"this must be a mapping or the word none; {_ADD_KEYS}")
            return None
        return self._validated(AuthSettings, value, ("auth",)) or self._valid_principals(value)

    def _valid_principals(self, value: dict[str, Any]) -> AuthSettings:
        """Return the entries without a fault of their own, so that faults between entries are reported as well."""
        valid: dict[str, Any] = {}
        for section, model in _SECTIONS.items():
            entries = value.get(section)
            read = {
                name: self._validated(model, entry, ("auth", section, str(name)))
                for name, entry in (entries.items() if isinstance(entries, dict) else ())
            }
            valid[section] = {name: entry for name, entry in read.items() if entry is not None}
        return AuthSettings.model_construct(None, **valid)

    def _providers(self) -> dict[str, ProviderSettings]:
        entries = self._values.get("providers")
        if not entries:
            self._problems.add(("providers",), "at least one provider is needed")
            return {}
        if not isinstance(entries, dict):
            self._problems.add(("providers",), "this must be a mapping from a provider's name to its settings")
            return {}
        read = {name: self._provider(name, value) for name, value in entries.items()}
        return {name: provider for name, provider in read.items() if provider is not None}

    def _dialects(self) -> dict[str, DialectSettings]:
        entries = self._values.get("dialects") or {}
        if not isinstance(entries, dict):
            self._problems.add(("dialects",), "this must be a mapping from a dialect's name to its settings")
            return {}
        for name in entries:
            if not _DIALECT.match(name):
                self._problems.add(
                    ("dialects", name), "a dialect's name must be 1 to 40 characters of a-z, 0-9, _ and -"
                )
        read = {name: self._validated(DialectSettings, value, ("dialects", name)) for name, value in entries.items()}
        return {name: dialect for name, dialect in read.items() if dialect is not None}

    def _provider(self, name: str, value: Any) -> ProviderSettings | None:
        at = ("providers", name)
        value = {} if value is None else value
        if not isinstance(value, dict):
            self._problems.add(at, "this must be a mapping of settings")
            return None
        if "name" in value:
            self._problems.add((*at, "name"), "the name of a provider is its key in providers; remove this")
        api = value.get("api")
        model = self._provider_models.get(api) if isinstance(api, str) else None
        if model is None:
            known = ", ".join(sorted(self._provider_models))
            meant = did_you_mean(api, self._provider_models)
            self._problems.add((*at, "api"), f"this must be the provider's API, one of: {known}{meant}")
            model = ProviderSettings
            value = {key: inner for key, inner in value.items() if key in model.model_fields}
        provider = self._validated(model, {**value, "name": name}, at)
        return None if provider is None else self._with_authorities(provider, (*at, "ca_file"))

    def _with_authorities(self, provider: ProviderSettings, at: Path) -> ProviderSettings:
        """Return the provider with the full path of its ``ca_file``, and check that the file holds certificates.

        Otherwise the fault would only appear when no request can be sent any more.
        """
        if provider.ca_file is None:
            return provider
        file = self._folder / provider.ca_file
        self._files[file] = stamp(file)
        try:
            ssl.create_default_context(cafile=file)
        except ssl.SSLError:
            self._problems.add(at, f"the file {file} holds no readable certificate in PEM format")
        except OSError as exc:
            self._problems.add(at, f"the file {file} cannot be read: {exc.strerror}")
        return provider.model_copy(update={"ca_file": str(file)})

    def _tls(self, tls: TlsSettings, at: Path) -> TlsSettings:
        """Return the settings of a listener's TLS with full paths, and check the files."""
        tls = tls.relative_to(self._folder)
        for file in tls.files.values():
            self._files[file] = stamp(file)
        try:
            tls.context()
        except TlsFault as fault:
            self._problems.add((*at, fault.setting), fault.message)
        return tls

    def _validated(self, model: type[ModelT], value: Any, at: Path) -> ModelT | None:
        """Return the section, or None when it has a fault. An empty section has all defaults."""
        value = {} if value is None else value
        if not isinstance(value, dict):
            self._problems.add(at, "this must be a mapping of settings")
            return None
        value = with_secret_files(model, value, at, self._folder, self._problems, self._files)
        try:
            section = model.model_validate(value)
        except ValidationError as exc:
            for error in exc.errors(include_url=False):
                loc = error["loc"]
                if at[0] == "providers" and loc == ("name",):
                    self._problems.add(at, "a provider's name must be 1 to 40 characters of a-z, 0-9 and -")
                else:
                    path = (*at, *(str(part) for part in loc if part not in _NOT_NAMES))
                    self._problems.add(path, _message(error["type"], error["msg"]) + suggestion(model, error))
            return None
        return None if self._problems.within(at) else section


def _message(kind: str, text: str) -> str:
    if kind in _MESSAGES:
        return _MESSAGES[kind]
    text = text.removeprefix("Value error, ").rstrip(".")
    return text[:1].lower() + text[1:]
