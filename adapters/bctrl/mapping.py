"""Translates between the domain and the JSON of bctrl."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from adapters.bctrl import wire
from gateway.domain.ids import SEPARATOR, RuntimeRef, b64url, format_runtime_id
from gateway.domain.lifecycle import encoded_actions
from gateway.domain.requests import CreateBrowser, EphemeralLaunch, ProfileLaunch
from gateway.domain.runtime import BrowserPart, Launch, Runtime
from gateway.domain.values import CreateFeature, State
from gateway.ports.redaction import REVEALING, without_secrets
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


_CONFIG: Final = {"humanize": "humanize", "humanize_persona_id": "humanizePersonaId", "solve_captchas": "solveCaptchas"}
"""The members of ``launch.config`` beside the proxy, by field of the request."""

CREATE_FEATURES: Final[frozenset[str]] = frozenset(
    {
        CreateFeature.LAUNCH_ON_CREATE,
        CreateFeature.EXTENSIONS,
        *(CreateFeature(field) for field in _CONFIG),
        *(CreateFeature(f"driver_{driver}") for driver in wire.Driver),
        *(CreateFeature(f"launch_{mode}") for mode in wire.LaunchMode),
        *(CreateFeature(f"proxy_{protocol}") for protocol in wire.ProxyType),
    }
)
"""The features of a create. It launches the browser; there is no start."""


def create_body(request: CreateBrowser) -> bytes:
    """The body of a create: exactly the fields that the caller sent."""
    body = {"alias": request.name, "kind": request.kind, **request.sent_fields({"driver": "driver"})}
    if request.sent("launch"):
        body["launch"] = _launch(request.launch)
    return REVEALING.encode(body)


def _launch(launch: ProfileLaunch | EphemeralLaunch) -> dict[str, Any]:
    """``extensionIds`` is a sibling of ``config``, not a member of it."""
    if isinstance(launch, ProfileLaunch):
        return {"mode": launch.mode, "profileId": launch.profile_id}
    config = launch.sent_fields(_CONFIG)
    if launch.sent("proxy"):
        config["proxy"] = None if launch.proxy is None else launch.proxy.sent_fields()
    body = {"mode": launch.mode, **launch.sent_fields({"extension_ids": "extensionIds"})}
    return {**body, "config": config} if config else body


class Reader:
    """Decodes the runtimes of one configured provider. The decoding methods raise ``ValueError`` or ``RecursionError``
    for a body that does not have the API's form."""

    def __init__(self, provider: str, features: frozenset[str], *, pinned: bool) -> None:
        self._provider = provider
        self._pinned = pinned
        self._actions = {state: encoded_actions(features, state) for state in State}

    def runtime(self, body: bytes, scope: str) -> Runtime:
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
