"""The settings of one bctrl account."""

import re
from typing import ClassVar, Final, Literal
from urllib.parse import urlsplit

from pydantic import field_validator

from gateway.ports.provider_settings import ProviderSettings

_WORKSPACE: Final = re.compile(r"[^/\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]{1,200}\Z")
VERSION_PREFIX: Final = "/v1"


def workspace_id(text: str) -> str:
    """Check a workspace id from settings or a request. The API documents no format for this path parameter.

    Raises ``ValueError`` for text that cannot be one segment of a path.
    """
    if not _WORKSPACE.match(text) or text in {".", ".."}:
        raise ValueError("a bctrl scope is a workspace id: 1 to 200 characters without '/' and control characters")
    return text


class BctrlSettings(ProviderSettings):
    """One account at bctrl. ``scope`` pins it to a workspace id; without ``scope`` the caller names the workspace.

    ``base_url`` may end in ``/v1`` or not, as with the provider's own clients.
    """

    own_paths: ClassVar[tuple[str, ...]] = (VERSION_PREFIX,)

    api: Literal["bctrl"]

    @field_validator("scope")
    @classmethod
    def _one_workspace(cls, value: str | None) -> str | None:
        return None if value is None else workspace_id(value)

    @property
    def path_prefix(self) -> str:
        """The text between the base URL and a path of the API: ``/v1``, or nothing if the base URL ends in it."""
        return "" if urlsplit(self.base_url).path.endswith(VERSION_PREFIX) else VERSION_PREFIX
