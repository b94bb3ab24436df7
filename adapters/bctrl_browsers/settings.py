"""The settings of one account at bctrl's browser API."""

import re
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from gateway.domain.values import Operation
from gateway.ports.provider_settings import ProviderSettings

_SPACE: Final = re.compile(r"[A-Za-z0-9_-]{1,128}\Z")

DEFAULT_SPACE: Final = "default"
"""The API's alias for the account's default space."""


class BctrlBrowsersSettings(ProviderSettings):
    """One account at bctrl. ``scope`` pins it to a space; without ``scope`` the caller names the space.

    ``base_url`` may end in ``/v1`` or not, as with the provider's own clients. ``wait_seconds`` is the time for which a
    create, a start and a stop ask the provider to wait, so that the response shows the browser running or idle.
    """

    own_paths: ClassVar[tuple[str, ...]] = ("/v1",)

    api: Literal["bctrl_browsers"]
    wait_seconds: Annotated[int, Field(ge=0, le=60)] = 15

    @classmethod
    def parse_scope(cls, scope: str) -> str:
        """Check a space from settings or a request: its id, or ``default``. Raises ``ValueError`` for other text."""
        if not _SPACE.match(scope):
            raise ValueError("a scope of the browser API is a space: its id of letters, digits, - and _, or default")
        return scope

    def longest_wait(self, operation: Operation, wanted: int) -> int:
        """The caller's own wait in seconds, shortened so that 5 s are left for the response."""
        return max(int(min(wanted, self.deadline(operation) - 5, self.read_timeout - 5)), 0)

    def wait(self, operation: Operation) -> int:
        """The seconds that the provider may wait before it responds: at most half of the deadline and of the read
        timeout."""
        return int(min(self.wait_seconds, self.deadline(operation) / 2, self.read_timeout / 2))
