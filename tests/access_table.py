"""What callers may reach: each call of every surface, its scope, and its answers to callers that see only a part.

The table in ``docs/access.md`` is written from it, and the tests call the gateway by it. A new
route needs nothing here if one of the rules covers it; otherwise :func:`access_table` raises ``LookupError``.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gateway.api.dialects import FORWARD
from gateway.api.native import ROUTE as NATIVE_ROUTE
from gateway.api.openapi import ROUTES
from gateway.domain.values import Permission
from gateway.ports.plugin import AdapterPlugin
from gateway.upstream.passthrough import NATIVE


class Reach(StrEnum):
    """The answer to a caller that may not see what a call is about, in the words of the table."""

    ABSENT = "404, as if absent"
    LEFT_OUT = "left out"
    DENIED = "403"
    OWN = "its own is made"
    ACTIONS = "its own actions only"  # which name what the caller itself has sent
    NONE = "–"  # the call is not about runtimes or providers


@dataclass(frozen=True, slots=True)
class AccessRow:
    """One call. ``permission`` None: any caller with a key; ``secured`` False: no key is needed. ``foreign`` is the
    answer to a caller with ``own_only`` about a runtime of another owner, ``outside`` the answer to a caller whose
    restrictions exclude the provider. ``action`` is its name in the audit trail, ``api`` the provider API of a
    dialect."""

    method: str
    path: str
    permission: Permission | None
    foreign: Reach
    outside: Reach
    action: str
    secured: bool = True
    api: str | None = None

    @property
    def call(self) -> str:
        """The method and path template."""
        return f"{self.method} {self.path}"

    @property
    def scope(self) -> str:
        """What the caller needs, in the words of the table."""
        if not self.secured:
            return "no key"
        return "any caller with a key" if self.permission is None else f"`{self.permission}`"


_RUNTIMES: Final = (
    r"/(v1/runtimes|bctrl/v1/(workspaces/{id}/runtimes|browsers|runtimes)|durable/\S*/ws/{workspace}/runtimes)"
)

FORWARDED: Final = (
    ("bctrl_browsers", "/bctrl/v1/{path}"),
    ("bctrl_browsers", "/bctrl/v1/browsers/{id}/{path}"),
    ("durable", "/durable/api/v1/org/{org}/ws/{workspace}/{path}"),
    ("durable", "/durable/api/v1/org/{org}/ws/{workspace}/runtimes/{runtime}/{path}"),
)
"""What the dialects forward where the settings list it, by the API that serves it."""

_RULES: Final[Sequence[tuple[str, Reach, Reach]]] = (
    (r"POST /v1/runtimes", Reach.OWN, Reach.DENIED),
    (r"GET /v1/runtimes", Reach.LEFT_OUT, Reach.LEFT_OUT),
    (rf"POST {_RUNTIMES}", Reach.OWN, Reach.ABSENT),
    (rf"GET {_RUNTIMES}", Reach.LEFT_OUT, Reach.ABSENT),
    (rf"\w+ {_RUNTIMES}/{{(id|alias|runtime)}}.*", Reach.ABSENT, Reach.ABSENT),
    (r"GET /durable/\S*/sandboxes/{sandbox}/logs", Reach.ABSENT, Reach.ABSENT),
    (r"GET /durable/\S*/user/organizations", Reach.NONE, Reach.LEFT_OUT),
    (r"GET /durable/\S*/user/secrets|POST /durable/\S*/projects", Reach.DENIED, Reach.ABSENT),
    (r"GET /durable/\S*/(user|org/{org}|ws|ws/{workspace}|projects|projects/{project})", Reach.NONE, Reach.ABSENT),
    (r"GET /v1/providers", Reach.NONE, Reach.LEFT_OUT),
    (r"GET /v1/providers/{name}(/history)?", Reach.NONE, Reach.ABSENT),
    (r"GET /v1/(intents|export|usage)", Reach.LEFT_OUT, Reach.LEFT_OUT),
    (r"POST /v1/import", Reach.DENIED, Reach.DENIED),
    (r"GET /v1/audit", Reach.ACTIONS, Reach.ACTIONS),
    (r"\w+ /v1/intents/{id}.*", Reach.ABSENT, Reach.ABSENT),
    (r"GET /v1/me|GET /metrics|\w+ /v1/(keys|principals|moves)\b.*", Reach.NONE, Reach.NONE),
    (r"GET /(livez|readyz|openapi.json|docs\b.*|console\b.*)?", Reach.NONE, Reach.NONE),
    (rf"any method {re.escape(NATIVE_ROUTE)}", Reach.DENIED, Reach.ABSENT),
    (r"any method /\S+/(browsers/{id}|runtimes/{runtime})/{path}", Reach.ABSENT, Reach.ABSENT),
    (r"any method /(bctrl|durable)/\S+/{path}", Reach.DENIED, Reach.ABSENT),
)
"""Which calls (a pattern of method and path) reach what. The first match counts."""


def access_table(known: Mapping[str, AdapterPlugin]) -> Iterator[AccessRow]:
    """The rows of all surfaces. Raises ``LookupError`` for a call that no rule covers."""
    for route in ROUTES:
        foreign, outside = _reach(f"{route.method} {route.path}")
        secured, action = route.secured, route.action
        yield AccessRow(route.method, route.path, route.permission, foreign, outside, action, secured=secured)
    for api, plugin in known.items():
        if plugin.dialect is None:
            continue
        for spoken in plugin.dialect.routes:
            path, action = f"/{plugin.dialect.prefix}{spoken.path}", f"{plugin.dialect.prefix}.{spoken.operation}"
            foreign, outside = _reach(f"{spoken.method} {path}")
            yield AccessRow(spoken.method, path, spoken.permission, foreign, outside, action, api=api)
    for api, path in FORWARDED:
        prefix = path.split("/")[1]
        foreign, outside = _reach(f"any method {path}")
        yield AccessRow("any method", path, Permission.NATIVE, foreign, outside, f"{prefix}.{FORWARD}", api=api)
    foreign, outside = _reach(f"any method {NATIVE_ROUTE}")
    yield AccessRow("any method", NATIVE_ROUTE, Permission.NATIVE, foreign, outside, NATIVE)


def _reach(call: str) -> tuple[Reach, Reach]:
    for pattern, foreign, outside in _RULES:
        if re.fullmatch(pattern, call):
            return foreign, outside
    raise LookupError(f"tests/access_table.py has no rule for the call {call}: say what it reaches")
