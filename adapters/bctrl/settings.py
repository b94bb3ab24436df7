"""The settings of one bctrl account."""

import re
from typing import ClassVar, Final, Literal

from gateway.ports.provider_settings import ProviderSettings

_WORKSPACE: Final = re.compile(r"[^/\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]{1,200}\Z")


class BctrlSettings(ProviderSettings):
    """One account at bctrl. ``scope`` pins it to a workspace id; without ``scope`` the caller names the workspace.

    ``base_url`` may end in ``/v1`` or not, as with the provider's own clients.
    """

    own_paths: ClassVar[tuple[str, ...]] = ("/v1",)

    api: Literal["bctrl"]

    @classmethod
    def parse_scope(cls, scope: str) -> str:
        """Check a workspace id from settings or a request. The API documents no format for this path parameter.

        Raises ``ValueError`` for text that cannot be one segment of a path.
        """
        if not _WORKSPACE.match(scope) or scope in {".", ".."}:
            raise ValueError("a bctrl scope is a workspace id: 1 to 200 characters without '/' and control characters")
        return scope
