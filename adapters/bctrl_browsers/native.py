"""The values that the dialect and the adapter exchange: creates and responses in the provider's own JSON, and the
gateway's marks in them.

A browser's ``metadata`` belongs to the caller, except for the members :data:`MARKS`, which are never shown. Callers may
not use names with the same prefix (:data:`RESERVED`): labels with such names are not shown.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import msgspec
from pydantic import SecretStr

from adapters.bctrl_browsers.wire import MARKER, BrowserBody, browser_body
from gateway.domain.errors import FieldError, ValidationFailed, pointer
from gateway.domain.ownership import OWNER_MARK
from gateway.domain.requests import CreateBrowser
from gateway.domain.runtime import Runtime
from gateway.ports.redaction import unmarked as without_marks


class NativeCreate(CreateBrowser):
    """A create in the provider's own members.

    ``proxy_json`` is its proxy in any of the provider's forms, with credentials. ``wait`` is the number of seconds that
    the provider may wait before it responds. Everything else is in ``provider_options``.
    """

    proxy_json: SecretStr | None = None
    wait: int = 0

    def proxy_member(self) -> dict[str, Any]:
        """The body's member ``proxy``, if it has one."""
        return {} if self.proxy_json is None else {"proxy": msgspec.json.decode(self.proxy_json.get_secret_value())}

    def secret_values(self) -> Iterator[str]:
        yield from super().secret_values()
        yield from proxy_secrets(self.proxy_member().get("proxy"))


@dataclass(frozen=True, slots=True)
class NativeAnswer:
    """A successful response: its body without marks, the browsers in it, the cursor of the next page, and the body of a
    single browser as the provider wrote it."""

    body: bytes = field(repr=False)
    runtimes: Sequence[Runtime] = ()
    next_cursor: str | None = None
    raw: bytes = field(default=b"{}", repr=False)


def proxy_secrets(proxy: Any) -> Iterator[str]:
    """The passwords in a proxy of any form, as written and percent-decoded."""
    if isinstance(proxy, dict):
        password = proxy.get("password")
        if isinstance(password, str):
            yield password
        proxy = proxy.get("url")
    if isinstance(proxy, str):
        userinfo, at, _ = urlsplit(proxy).netloc.rpartition("@")
        _, _, password = userinfo.partition(":")
        if at and password:
            yield password
            yield unquote(password)


MARKS: Final = (MARKER, OWNER_MARK)
RESERVED: Final = "rgw_"
"""The prefix of the names that are reserved for the gateway."""

_WITHIN: Final = ("data", "metadata")


def check_unmarked(metadata: Any, *at: str) -> None:
    """Raise :class:`ValidationFailed` for metadata or labels of a caller with reserved names. ``at`` is their path in
    the request."""
    names = metadata if isinstance(metadata, Mapping) else ()
    if reserved := [name for name in names if name.startswith(RESERVED)]:
        detail = f"Names that begin with {RESERVED} are reserved for the gateway; choose another one."
        errors = [FieldError(detail, "reserved", pointer=pointer(*at, name)) for name in reserved]
        raise ValidationFailed(f"{errors[0].pointer}: {detail}", errors=errors)


def marked(body: Mapping[str, Any], marks: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a create or an update with these marks in its metadata, except None; unchanged without any."""
    sent = {name: mark for name, mark in marks.items() if mark is not None}
    return {**body, "metadata": {**body.get("metadata", {}), **sent}} if sent else dict(body)


def marks_in(body: bytes) -> dict[str, Any]:
    """The marks in the JSON of one browser."""
    metadata = browser_body.decode(body).metadata or {}
    return {name: metadata[name] for name in MARKS if name in metadata}


def marker_of(browser: BrowserBody) -> str | None:
    """The marker in a browser's metadata, None if it has none."""
    marker = (browser.metadata or {}).get(MARKER)
    return marker if isinstance(marker, str) else None


def unmarked(body: bytes) -> bytes:
    """The JSON of a browser, or of a page of browsers, without marks, as :func:`gateway.ports.redaction.unmarked`."""
    return without_marks(body, MARKS, _WITHIN)
