"""One account at the durable API: where it is, how it is authenticated, and which workspace it is pinned to."""

import re
from typing import Final, Literal
from urllib.parse import urlsplit

from pydantic import field_validator

from gateway.ports.provider_settings import ProviderSettings

_SCOPE: Final = re.compile(r"[A-Za-z0-9_-]{1,90}/[A-Za-z0-9_-]{1,90}\Z")


def parse_scope(scope: str) -> str:
    """A scope ``org/workspace`` of two slugs, as it is. Raises ``ValueError`` for anything else."""
    if _SCOPE.match(scope) is None:
        raise ValueError("a durable scope is org/workspace: two slugs of letters, digits, - and _")
    return scope


class DurableSettings(ProviderSettings):
    """A durable provider. ``scope`` left out: the caller names ``org/workspace``.

    ``auth`` says which header carries the token: the provider's own client sends ``X-API-Key``, its documentation
    shows ``Authorization: Bearer``. ``network`` says from where sandbox URLs have to be reachable: ``cluster`` is for
    a gateway inside the platform's own cluster.
    """

    api: Literal["durable"] = "durable"
    auth: Literal["x_api_key", "bearer"] = "x_api_key"
    network: Literal["public", "cluster"] = "public"

    @field_validator("scope")
    @classmethod
    def _two_slugs(cls, scope: str | None) -> str | None:
        return None if scope is None else parse_scope(scope)

    @property
    def path_prefix(self) -> str:
        """What stands between the base URL and ``/org/…``, by the rule of the provider's own client: nothing when the
        base URL's path ends in ``/api/v1`` or ``/api``, else ``/api/v1``."""
        return "" if urlsplit(self.base_url).path.endswith(("/api/v1", "/api")) else "/api/v1"

    def credential_headers(self) -> dict[str, str]:
        """The header that carries the token."""
        token = self.token.get_secret_value()
        return {"X-API-Key": token} if self.auth == "x_api_key" else {"Authorization": f"Bearer {token}"}

    def headers(self) -> dict[str, str]:
        """The headers of every request. They hold the token."""
        return {**self.credential_headers(), "X-Dreadnode-Network": self.network}
