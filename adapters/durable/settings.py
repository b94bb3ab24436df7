"""Settings of one durable account: base URL, authentication, and the workspace to which it is pinned."""

import re
from typing import ClassVar, Final, Literal

from gateway.ports.provider_settings import ProviderSettings

_SCOPE: Final = re.compile(r"[A-Za-z0-9_-]{1,90}/[A-Za-z0-9_-]{1,90}\Z")


class DurableSettings(ProviderSettings):
    """A durable provider. Without a ``scope`` callers name ``org/workspace``.

    ``auth`` selects the header of the token: the provider's own client sends ``X-API-Key``, its documentation shows
    ``Authorization: Bearer``. ``network`` is the network from which sandbox URLs have to be reachable: ``cluster`` is
    for a gateway inside the platform's own cluster.
    """

    # A base URL may end in either, as with the provider's own client.
    own_paths: ClassVar[tuple[str, ...]] = ("/api/v1", "/api")

    api: Literal["durable"] = "durable"
    auth: Literal["x_api_key", "bearer"] = "x_api_key"
    network: Literal["public", "cluster"] = "public"

    @classmethod
    def parse_scope(cls, scope: str) -> str:
        """Return a scope ``org/workspace`` of two slugs unchanged. Raises ``ValueError`` for anything else."""
        if _SCOPE.match(scope) is None:
            raise ValueError("a durable scope is org/workspace: two slugs of letters, digits, - and _")
        return scope

    def credential_headers(self) -> dict[str, str]:
        """The header that carries the token: ``X-API-Key``, or ``Authorization`` when ``auth`` is ``bearer``."""
        if self.auth == "bearer":
            return super().credential_headers()
        return {"X-API-Key": self.token.get_secret_value()}

    def headers(self) -> dict[str, str]:
        """The headers of every request, including the token."""
        return {**self.credential_headers(), "X-Dreadnode-Network": self.network}
