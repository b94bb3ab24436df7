"""Translates between the domain and the JSON of the browser API."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from adapters.bctrl_browsers import wire
from adapters.bctrl_browsers.native import MARKS, RESERVED, NativeCreate, marked, marker_of
from adapters.bctrl_browsers.settings import DEFAULT_SPACE
from gateway.domain.errors import ValidationFailed
from gateway.domain.ids import SEPARATOR, RuntimeRef, b64url, format_runtime_id, from_b64url
from gateway.domain.lifecycle import encoded_actions
from gateway.domain.ownership import OWNER_MARK
from gateway.domain.requests import CreateBrowser, EphemeralLaunch, ProxyRequest
from gateway.domain.runtime import BrowserPart, Connection, Launch, Proxy, Runtime
from gateway.domain.values import CreateFeature, Kind, State, is_uuid
from gateway.ports.provider import Seen
from gateway.ports.redaction import REVEALING, OwnerMarks, is_secret, without_secrets
from gateway.ports.rows import PageRead, read_page
from gateway.ports.transport import Call, is_path_segment

STATES: Final[Mapping[str, State]] = {
    wire.Status.IDLE: State.IDLE,
    wire.Status.RUNNING: State.RUNNING,
    wire.RunStatus.STARTING: State.STARTING,
    wire.RunStatus.ACTIVE: State.RUNNING,
    wire.RunStatus.STANDBY: State.PAUSED,
    wire.RunStatus.STOPPING: State.STOPPING,
    wire.RunStatus.ENDED: State.IDLE,
    wire.RunStatus.FAILED: State.FAILED,
}
"""The state for each status of a browser (the first two) and of its current run, which is more precise while the
browser is running."""

DRIVERS: Final[Mapping[str, tuple[str, ...]]] = {
    "cdp": ("playwright", "puppeteer", "stagehand"),
    "webdriver": ("selenium",),
}
"""The drivers that can use each kind of connection. A run has both connections, so a create accepts any driver. The API
has no field for the driver: it is not sent, and the gateway shows the one that it keeps."""

CREATE_FEATURES: Final[frozenset[str]] = frozenset(
    {
        CreateFeature.LAUNCH_ON_CREATE,
        CreateFeature.LABELS,
        CreateFeature.LAUNCH_EPHEMERAL,
        CreateFeature.EXTENSIONS,
        CreateFeature.SOLVE_CAPTCHAS,
        *(CreateFeature(f"driver_{driver}") for drivers in DRIVERS.values() for driver in drivers),
        *(CreateFeature(f"proxy_{protocol}") for protocol in wire.ProxyProtocol),
    }
)
"""The features of a create. It requests a first run; profiles and humanize have no equivalent."""

CONNECTIONS: Final = re.compile("connections?$|url$", re.IGNORECASE)
"""The names of members with addresses of connections."""

_TYPED_ID: Final = re.compile(r"[a-z]{1,16}_[A-Za-z0-9_-]{1,111}\Z")
_MAPPED: Final = frozenset(wire.BrowserBody.__struct_encode_fields__) | {"object", "type"}
_RUN_MAPPED: Final = frozenset({"object", "resourceId", "resourceType", "spaceId", "status"})

_BROWSERS: Final = msgspec.json.Decoder(wire.BrowsersBody)
_RAW: Final = msgspec.json.Decoder(dict[str, Any])
_RAW_BROWSERS: Final = msgspec.json.Decoder(wire.RawBrowsersBody)


def create_body(request: CreateBrowser, scope: str, marker: str | None = None) -> bytes:
    """The body of a create: exactly the fields that the caller sent, the space, and the marks.

    Raises :class:`ValidationFailed` for values that JSON cannot represent.
    """
    body = {"name": request.name, "spaceId": scope, **request.provider_options}
    if request.sent("labels"):
        body["metadata"] = request.labels
    if request.sent("launch") and isinstance(request.launch, EphemeralLaunch):
        body.update(_launch(request.launch))
    if isinstance(request, NativeCreate) and request.proxy_json is not None:
        body["proxy"] = msgspec.Raw(request.proxy_json.get_secret_value().encode())
    try:
        return REVEALING.encode(marked(body, {wire.MARKER: marker, OWNER_MARK: request.owner_mark}))
    except (UnicodeEncodeError, RecursionError) as exc:
        what = "is nested too deeply" if isinstance(exc, RecursionError) else "holds text that is not Unicode"
        raise ValidationFailed.at("#", f"The request {what}.") from exc


def _launch(launch: EphemeralLaunch) -> Iterator[tuple[str, Any]]:
    if launch.sent("extension_ids"):
        yield "extensions", launch.extension_ids
    if launch.sent("solve_captchas"):
        yield "captcha", {"autoSolve": launch.solve_captchas}
    if launch.sent("proxy"):
        yield "proxy", None if launch.proxy is None else _proxy(launch.proxy)


def _proxy(proxy: ProxyRequest) -> dict[str, Any]:
    """The API calls the unified type the protocol."""
    fields = proxy.sent_fields()
    return {"type": "custom", "protocol": fields.pop("type"), **fields}


def reference(ref: RuntimeRef, *, pinned: bool) -> str:
    """The part of the public id after the provider's name: the browser's id, preceded by the space if the provider is
    open.

    An id in another form than the known ones (``br_…``, a UUID) is encoded. The provider accepts an id or a name in one
    place, so a plain name must not be usable as a reference. Raises :class:`msgspec.ValidationError` for an id that
    cannot be a part of a path: no call could name the browser.
    """
    plain = _TYPED_ID.match(ref.provider_id) or is_uuid(ref.provider_id)
    if not plain and not is_path_segment(ref.provider_id):
        raise msgspec.ValidationError("Expected `id`, got `str` - at `$.id`")
    shown = ref.provider_id if plain else SEPARATOR + b64url(ref.provider_id)
    return shown if pinned else f"{b64url(ref.scope)}{SEPARATOR}{shown}"


def browser_id(reference: str) -> str:
    """The id in a reference, without the space. Raises ``ValueError`` for text that :func:`reference` never returns."""
    if reference.startswith(SEPARATOR):
        decoded = from_b64url(reference.removeprefix(SEPARATOR))
        if decoded in {"", ".", ".."} or _TYPED_ID.match(decoded) or is_uuid(decoded):
            raise ValueError("this id is not encoded in a reference")
        return decoded
    if is_uuid(reference):
        return reference.lower()
    if not _TYPED_ID.match(reference):
        raise ValueError("not an id of a browser")
    return reference


class Reader:
    """Decodes the browsers of one configured provider. All methods raise ``ValueError`` or ``RecursionError`` for a
    body that does not have the API's form."""

    def __init__(self, provider: str, features: frozenset[str], *, pinned: bool) -> None:
        self._provider = provider
        self.owner_marks = OwnerMarks()
        self._pinned = pinned
        self._actions = {state: encoded_actions(features, state) for state in State}

    def runtime(self, body: bytes, scope: str) -> Runtime:
        return self.seen(body, scope).runtime

    def seen(self, body: bytes, scope: str) -> Seen:
        """The same with its marker."""
        row = wire.browser_body.decode(body)
        return Seen(self._to_domain(row, _RAW.decode(body), scope), marker_of(row))

    def page(self, body: bytes, scope: str, call: Call) -> PageRead[str | None, Seen]:
        """The browsers of a page in their order, the rows that cannot be decoded, and the cursor of the next page."""
        return read_page(
            body,
            call,
            member=wire.ROWS,
            name=wire.NAME,
            whole=lambda body: self._page(body, scope),
            row=lambda body: self.seen(body, scope),
        )

    def _page(self, body: bytes, scope: str) -> tuple[str | None, list[Seen]]:
        page, raw = _BROWSERS.decode(body), _RAW_BROWSERS.decode(body).data
        if page.has_more and not page.next_cursor:
            raise ValueError("the list continues but has no cursor")
        found = [
            Seen(self._to_domain(row, members, scope), marker_of(row))
            for row, members in zip(page.data, raw, strict=True)
        ]
        return None if page.has_more is False else page.next_cursor or None, found

    def _to_domain(self, row: wire.BrowserBody, members: Mapping[str, Any], scope: str) -> Runtime:
        run = row.current_run
        state = state_of(row)
        metadata = row.metadata or {}
        return Runtime(
            id=format_runtime_id(self._provider, reference(RuntimeRef(scope, row.id), pinned=self._pinned)),
            kind=Kind.BROWSER,
            provider=self._provider,
            scope=scope,
            provider_id=row.id,
            owner=self.owner_marks.open(row.name, metadata[OWNER_MARK]) if OWNER_MARK in metadata else None,
            name=row.name,
            labels=None if row.metadata is None else {k: v for k, v in metadata.items() if _is_label(k, v)},
            state=state,
            state_reason=run.end_reason if run is not None and state is State.FAILED else None,
            provider_state={"status": row.status, "run": None if run is None else run.status},
            actions=self._actions[state],
            created_at=row.created_at,
            updated_at=row.updated_at,
            browser=BrowserPart(
                launch=_launch_of(row), running=None if state is State.UNKNOWN else state is State.RUNNING
            ),
            provider_data=dict(_unmapped(row, members, scope)),
        )


def state_of(row: wire.BrowserBody) -> State:
    """The state of a browser: that of its run while the browser is running and has one."""
    if row.status == wire.Status.RUNNING and row.current_run is not None:
        return STATES.get(row.current_run.status, State.UNKNOWN)
    return {wire.Status.IDLE.value: State.IDLE, wire.Status.RUNNING.value: State.RUNNING}.get(row.status, State.UNKNOWN)


def connections(body: bytes) -> list[Connection]:
    """The connections of the current run; empty while it has none. The live view is there twice: interactive, then
    read-only."""
    run = wire.browser_body.decode(body).current_run
    urls = None if run is None or run.status != wire.RunStatus.ACTIVE else run.connections
    if urls is None:
        return []
    found: list[Connection] = []
    if urls.cdp_url:
        found.append(Connection(protocol="cdp", url=urls.cdp_url, expires_at=urls.expires_at))
    if urls.webdriver_url:
        found.append(Connection(protocol="webdriver", url=urls.webdriver_url, expires_at=urls.expires_at))
    views = filter(None, (urls.live_view_url, urls.live_view_read_only_url))
    return found + [Connection(protocol="live_view", url=url, expires_at=urls.expires_at) for url in views]


def _is_label(name: str, value: Any) -> bool:
    return isinstance(value, str) and not name.startswith(RESERVED)


def _is_shown(name: str, value: Any) -> bool:
    return name not in MARKS and not _is_label(name, value)


def _launch_of(row: wire.BrowserBody) -> Launch:
    return Launch(
        extension_ids=row.extensions,
        solve_captchas=row.captcha.auto_solve if row.captcha else None,
        proxy=_shown_proxy(row.proxy),
    )


def _shown_proxy(proxy: Any) -> Proxy | None:
    """A proxy in the form host and port, else None; the provider's other forms are shown in ``provider_data``."""
    if not isinstance(proxy, Mapping) or not isinstance(proxy.get("host"), str):
        return None
    protocol, port, username = proxy.get("protocol"), proxy.get("port"), proxy.get("username")
    return Proxy(
        type=protocol if isinstance(protocol, str) else None,
        host=without_secrets(proxy["host"]),
        port=port if isinstance(port, int) and not isinstance(port, bool) else None,
        username=username if isinstance(username, str) else None,
    )


def is_elsewhere(runtime: Runtime) -> bool:
    """Whether the provider reports another space for a browser than the one that was requested by id."""
    return runtime.scope != DEFAULT_SPACE and "spaceId" in runtime.provider_data


def _unmapped(row: wire.BrowserBody, members: Mapping[str, Any], scope: str) -> Iterator[tuple[str, Any]]:
    """The members that the model has no field for, without secrets, and the space's id if it differs from the scope."""
    for name in members.keys() - _MAPPED:
        if not is_secret(name, members[name]):
            yield name, without_secrets(members[name])
    if metadata := {k: without_secrets(v) for k, v in (row.metadata or {}).items() if _is_shown(k, v)}:
        yield "metadata", metadata
    if row.proxy is not None and _shown_proxy(row.proxy) is None:
        yield "proxy", without_secrets(row.proxy)
    if row.space_id is not None and row.space_id != scope:
        yield "spaceId", row.space_id
    run = members.get("currentRun") or {}
    if rest := {name: run[name] for name in run.keys() - _RUN_MAPPED if not CONNECTIONS.search(name)}:
        yield "currentRun", without_secrets(rest)
