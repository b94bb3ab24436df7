"""The values that the dialect and the adapter exchange: creates and responses in the provider's own JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
from pydantic import SecretStr

from gateway.domain.requests import CreateBrowser
from gateway.domain.runtime import Runtime


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
