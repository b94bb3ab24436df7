"""Translates between the domain and the JSON of bctrl."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET
from pydantic import SecretStr

from adapters.bctrl import wire
from gateway.domain.features import CreateFeature
from gateway.domain.ids import SEPARATOR, RuntimeRef, b64url, format_runtime_id
from gateway.domain.lifecycle import actions
from gateway.domain.requests import CreateBrowser, EphemeralLaunch, ProfileLaunch, ProxyRequest
from gateway.domain.runtime import BrowserPart, Launch, Runtime
from gateway.domain.values import State
from gateway.ports.redaction import without_secrets
from gateway.ports.rows import PageRead, read_page
from gateway.ports.transport import Call

STATES: Final[Mapping[str, State]] = {
    wire.Status.ACTIVE: State.RUNNING,
    wire.Status.STOPPED: State.STOPPED,
    wire.Status.FAILED: State.FAILED,
}

_RUNTIME: Final = msgspec.json.Decoder(wire.Runtime)
_RUNTIMES: Final = msgspec.json.Decoder(wire.Runtimes)
_RAW: Final = msgspec.json.Decoder(dict[str, Any])
_RAW_RUNTIMES: Final = msgspec.json.Decoder(wire.RawRuntimes)
_KNOWN: Final = wire.members(wire.Runtime)
_KNOWN_SUMMARY: Final = wire.members(wire.Summary)


def _reveal(value: Any) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    raise NotImplementedError(f"a request to bctrl cannot carry a {type(value).__name__}")


_ENCODER: Final = msgspec.json.Encoder(enc_hook=_reveal)


def create_features() -> Iterator[str]:
    """The features of a create, derived from the wire types. A create launches the browser; there is no start."""
    yield CreateFeature.LAUNCH_ON_CREATE
    for driver in wire.Driver:
        yield CreateFeature(f"driver_{driver}")
    for mode in wire.LaunchMode:
        yield CreateFeature(f"launch_{mode}")
    for proxy_type in wire.ProxyType:
        yield CreateFeature(f"proxy_{proxy_type}")
    fields = (*wire.EphemeralLaunch.__struct_fields__, *wire.LaunchConfig.__struct_fields__)
    for field in fields:
        if field not in {"mode", "config", "proxy"}:
            yield CreateFeature(field)


def create_body(request: CreateBrowser) -> bytes:
    """The body of a create: exactly the fields that the caller sent."""
    return _ENCODER.encode(
        wire.CreateRuntime(
            alias=request.name,
            kind=request.kind,
            driver=request.driver if request.sent("driver") else UNSET,
            launch=_launch(request.launch) if request.sent("launch") else UNSET,
        )
    )


def _launch(launch: ProfileLaunch | EphemeralLaunch) -> wire.ProfileLaunch | wire.EphemeralLaunch:
    if isinstance(launch, ProfileLaunch):
        return wire.ProfileLaunch(profile_id=launch.profile_id)
    config = {field: getattr(launch, field) for field in ("humanize", "humanize_persona_id", "solve_captchas")}
    config = {field: value for field, value in config.items() if launch.sent(field)}
    if launch.sent("proxy"):
        config["proxy"] = None if launch.proxy is None else _proxy(launch.proxy)
    return wire.EphemeralLaunch(
        extension_ids=launch.extension_ids if launch.sent("extension_ids") else UNSET,
        config=wire.LaunchConfig(**config) if config else UNSET,
    )


def _proxy(proxy: ProxyRequest) -> wire.Proxy:
    return wire.Proxy(
        type=proxy.type,
        host=proxy.host,
        port=proxy.port,
        username=proxy.username if proxy.sent("username") else UNSET,
        password=proxy.password if proxy.sent("password") else UNSET,
    )


class Reader:
    """Decodes the runtimes of one configured provider. The decoding methods raise ``ValueError`` or ``RecursionError``
    for a body that does not have the API's form."""

    def __init__(self, provider: str, features: frozenset[str], *, pinned: bool) -> None:
        self._provider = provider
        self._pinned = pinned
        self._actions = {state: actions(features, state) for state in State}

    def runtime(self, body: bytes, scope: str) -> Runtime:
        """The runtime in the response to a call on one runtime."""
        return self._to_domain(_RUNTIME.decode(body), _RAW.decode(body), scope)

    def runtimes(self, body: bytes, scope: str, call: Call) -> PageRead[None, Runtime]:
        """All runtimes of a list, in its order, and the rows that cannot be decoded.

        A list that announces further pages raises ``ValueError``: this API has none, and the runtimes on them would be
        taken for missing.
        """
        return read_page(
            body,
            call,
            member=wire.ROWS,
            name=wire.NAME,
            whole=lambda body: (None, self._all(body, scope)),
            row=lambda body: self.runtime(body, scope),
        )

    def _all(self, body: bytes, scope: str) -> list[Runtime]:
        listed = _RUNTIMES.decode(body)
        if listed.has_more or listed.next_cursor:
            raise ValueError("a list of the whole workspace has no further pages")
        raw = _RAW_RUNTIMES.decode(body).runtimes
        return [self._to_domain(row, members, scope) for row, members in zip(listed.runtimes, raw, strict=True)]

    def reference(self, ref: RuntimeRef) -> str:
        """The part of the public id after the provider's name."""
        parts = [] if self._pinned else [b64url(ref.scope)]
        return SEPARATOR.join([*parts, b64url(ref.name or ""), ref.provider_id])

    def _to_domain(self, row: wire.Runtime, members: dict[str, Any], scope: str) -> Runtime:
        provider_id = str(row.id)
        state = STATES.get(row.status, State.UNKNOWN)
        return Runtime(
            id=format_runtime_id(self._provider, self.reference(RuntimeRef(scope, provider_id, row.alias))),
            kind=row.kind,
            provider=self._provider,
            scope=scope,
            provider_id=provider_id,
            name=row.alias,
            state=state,
            provider_state={"status": row.status},
            actions=self._actions[state],
            created_at=row.created_at,
            updated_at=row.updated_at,
            browser=_browser(row),
            provider_data=_unknown(row, members, scope),
        )


def _browser(row: wire.Runtime) -> BrowserPart:
    summary = row.summary
    if summary is None:
        return BrowserPart(driver=row.driver)
    reported = summary.launch_mode is not None or summary.profile_id is not None
    return BrowserPart(
        driver=row.driver,
        launch=Launch(mode=summary.launch_mode, profile_id=summary.profile_id) if reported else None,
        running=summary.browser_running,
        current_driver=summary.current_driver,
        default_context_id=summary.default_context_id,
        default_page_id=summary.default_page_id,
        storage_workspace=summary.storage_workspace,
    )


def _unknown(row: wire.Runtime, members: dict[str, Any], scope: str) -> dict[str, Any]:
    """The members that the model has no field for, without secrets, and the workspace id if it differs from the one in
    the path."""
    unknown = {} if members.keys() <= _KNOWN else _public(members, _KNOWN)
    summary = members.get("summary")
    if summary and (rest := _public(summary, _KNOWN_SUMMARY)):
        unknown["summary"] = rest
    if row.workspace_id is not None and row.workspace_id != scope:
        unknown["workspaceId"] = row.workspace_id
    return unknown


def _public(members: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any]:
    shown: dict[str, Any] = without_secrets({key: members[key] for key in members.keys() - known})
    return shown
