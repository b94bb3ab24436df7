"""Two tenants of one gateway, and what no answer to one of them may contain: anything of the other.

Every text that a tenant chooses contains its mark, except for the names that both use. The ids that the gateway and the
providers make for it are taken from its own answers.
"""

import base64
import binascii
import json
import random
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.domain.ownership import OWNER_MARK, suffix_of
from gateway.domain.values import Permission
from tests.component.whole_gateway import Gateway, Response

APIS: Final = ("durable", "bctrl", "bctrl_browsers")
WORKSPACE: Final = "7d0c5a4e-93b1-4f0a-8c62-5e1b2a9f6d34"
DIALECTS: Final[Mapping[str, str]] = {
    "durable": "/durable/api/v1/org/acme/ws/research/runtimes",
    "bctrl": f"/bctrl/v1/workspaces/{WORKSPACE}/runtimes",
    "bctrl_browsers": "/bctrl/v1/browsers",
    "flat": "/bctrl/v1/runtimes",
}
SCOPES: Final = [permission.value for permission in Permission if permission is not Permission.ADMIN]
SHARED_NAMES: Final = ("agent", "worker")

ID_MEMBERS: Final = re.compile(
    r'"(?:id|provider_id|runtime_id|provider_instance_id|sandbox_id|sandbox_token|token|defaultContextId|defaultPageId)":'
    r' ?"([^"]{8,})"'
)
_ENCODED: Final = re.compile(r"[A-Za-z0-9_+/-]{12,}")
_REQUEST_IDS: Final = re.compile(r'"(instance|requestId|request_id)": ?"[^"]*"')
_OWN_HEADERS: Final = frozenset({"Date", "X-Request-ID", "Content-Length", "RateLimit"})


@dataclass(eq=False)
class Runtime:
    """A runtime as its owner knows it. ``neutral``: it has no text with a mark, so it can be assigned to the other."""

    api: str
    id: str
    native_id: str
    name: str
    etag: str = ""
    neutral: bool = False


@dataclass(eq=False)
class Tenant:
    """A tenant: its keys or tokens, its mark, which is also the name of its owner or of its group at the issuer, and
    what was made for it."""

    mark: str
    keys: tuple[str, ...]
    by_token: bool = False
    runtimes: dict[str, Runtime] = field(default_factory=dict)
    had: set[str] = field(default_factory=set)  # the ids of all runtimes that are or were its own
    ids: set[str] = field(default_factory=set)
    cursors: list[tuple[str, str]] = field(default_factory=list)
    intents: set[str] = field(default_factory=set)
    events: int = 0

    @property
    def owner(self) -> str:
        return f"login/{self.mark}" if self.by_token else self.mark

    @property
    def secret(self) -> str:
        return f"{self.mark}-secret"


def principals(tenants: Iterable[Tenant]) -> dict[str, dict[str, Any]]:
    """The settings of a principal for each key, and of the template of tokens; those of one tenant are a group."""
    found: dict[str, dict[str, Any]] = {}
    for tenant in tenants:
        for number, key in enumerate(tenant.keys):
            settings: dict[str, Any] = {"keys": [f"template-of-{tenant.mark}-{number}" if tenant.by_token else key]}
            settings |= {"own_only": True, "scopes": SCOPES}
            settings["allow"] = {"proxy": {"hosts": [f"{tenant.mark}.example"]}}
            if len(tenant.keys) > 1:
                settings["own_group"] = tenant.mark
            found[tenant.mark if len(tenant.keys) == 1 else f"{tenant.mark}-{number}"] = settings
    return found


def decoded(text: str) -> Iterator[str]:
    """The text, and everything in it that decodes as base64."""
    yield text
    for encoded in _ENCODED.findall(text):
        for part in {encoded, *re.split(r"[.~/-]", encoded)}:
            try:
                raw = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
            except (binascii.Error, ValueError):
                continue
            yield raw.decode("latin-1")


@dataclass
class Leaks:
    """Asks as a tenant, and checks every answer."""

    gateway: Gateway
    dice: random.Random
    common: frozenset[str] = frozenset()  # ids that belong to the provider's account
    hidden: tuple[str, ...] = ()  # what no tenant may see
    found: list[str] = field(default_factory=list)
    asked: int = 0
    succeeded: int = 0
    refused: int = 0

    async def ask(
        self, tenant: Tenant, other: Tenant, method: str, path: str, body: Any = None, **headers: str
    ) -> Response:
        """Call with one of the tenant's keys. What the tenant itself sent may be in the answer."""
        self.asked += 1
        headers.setdefault("Authorization", f"Bearer {self.dice.choice(tenant.keys)}")
        answer = await self.gateway.call(method, path, body, **headers)
        self.succeeded += answer.status < 300
        self.refused += answer.status in {403, 404}
        sent = json.dumps([path, body, headers])
        self.check(tenant, other, answer, f"{method} {path}", sent)
        return answer

    def check(self, tenant: Tenant, other: Tenant, answer: Response, call: str, sent: str) -> None:
        """Record what the answer contains of the other tenant, and suffixes of names at the provider."""
        whole = "\n".join((answer.text, *(f"{name}: {value}" for name, value in answer.headers.items())))
        for own in tenant.had:  # an id may encode the name at the provider
            whole = whole.replace(own, "own")
        forbidden = [other.mark, suffix_of(other.owner), *(other.ids - self.common), *self.hidden]
        for text in decoded(whole):
            for one in forbidden:
                if one in text and one not in sent:
                    self.report(tenant, call, f"{answer.status} contains {one!r}: {text[:400]}")
        if ".rgw-" in whole and ".rgw-" not in sent:
            self.report(tenant, call, f"{answer.status} contains a suffix: {whole[:400]}")
        if OWNER_MARK in whole and OWNER_MARK not in sent:
            self.report(tenant, call, f"{answer.status} contains the mark of an owner: {whole[:400]}")
        if answer.status >= 500 and "internal_error" in answer.text:
            self.report(tenant, call, f"{answer.status} {answer.text[:300]}")

    def report(self, tenant: Tenant, call: str, what: str) -> None:
        """Record a leak."""
        self.found.append(f"step {self.asked}, {tenant.mark}: {call}: {what}")

    def same(self, tenant: Tenant, call: str, foreign: Response, absent: Response, texts: Mapping[str, str]) -> None:
        """Record a difference between the answers about a foreign and an absent runtime. ``texts`` are what the second
        call sent instead of what the first one sent."""
        if told(foreign, texts.keys()) != told(absent, texts.values()):
            self.report(tenant, call, f"{foreign.status} {foreign.text[:300]} but absent {absent.status} {absent.text}")


def told(answer: Response, texts: Iterable[str]) -> tuple[int, str, list[tuple[str, str]]]:
    """The answer without what identifies the request and without the texts that were sent."""
    text = _REQUEST_IDS.sub("", answer.text)
    for one in sorted(texts, key=len, reverse=True):
        text = text.replace(one, "…")
    return answer.status, text, sorted((n, v) for n, v in answer.headers.items() if n not in _OWN_HEADERS)


def learn(tenant: Tenant, answer: Response) -> None:
    """Remember the ids in an answer about the tenant's own runtimes."""
    if answer.status < 300:
        tenant.ids.update(ID_MEMBERS.findall(answer.text))


def absent_like(text: str) -> str:
    """An id or name of the same form that nothing has."""
    return text[:-1] + ("0" if text[-1] != "0" else "1")
