"""The spellings of the base URLs in namespaces. One address has one spelling, which all replicas use.

It is the one that the first replica has in its settings, or that the intents had before the table existed. So a replica
of the previous version, which uses its own spelling, sees the same names.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from gateway.domain.base_urls import same_address
from gateway.domain.intents import HOLDS_NAME, namespace_of, parts_of
from gateway.storage.sql import RetryTransaction, Statement, Steps, in_states

_KNOWN: Final = "SELECT spellings FROM base_urls WHERE api = $1 AND address = $2"
_INSERT: Final = (
    "INSERT INTO base_urls (api, address, spellings) VALUES ($1, $2, $3)"
    " ON CONFLICT (api, address) DO NOTHING RETURNING api"
)
_NAMESPACES: Final = "SELECT namespace FROM intents GROUP BY namespace ORDER BY max(created_at) DESC, namespace"
_NAMED: Final = in_states(HOLDS_NAME)
_RENAME: Final = (
    f"UPDATE intents SET namespace = $2 WHERE namespace = $1 AND (state NOT IN {_NAMED} OR superseded_by IS NOT NULL"
    " OR NOT EXISTS (SELECT 1 FROM intents AS other WHERE other.namespace = $2 AND other.kind = intents.kind"
    f" AND other.name = intents.name AND other.state IN {_NAMED} AND other.superseded_by IS NULL))"
)
_RENAME_PINS: Final = "UPDATE pins SET namespace = $2 WHERE namespace = $1"


def known_spellings(api: str, address: str) -> Steps[Sequence[str]]:
    """The spellings of an address, the one that is used first; none if it is not registered."""
    rows = yield Statement(_KNOWN, (api, address))
    return msgspec.json.decode(rows[0][0], type=list[str]) if rows else []


def register_spelling(api: str, base_url: str, own_paths: tuple[str, ...]) -> Steps[Sequence[str]]:
    """Register the spelling of an address, unless it has one, and move the intents of its other spellings to it.

    An intent whose name another unsettled one has there keeps its namespace: it is settled by its id.
    """
    address = same_address(base_url, own_paths)
    known = yield from known_spellings(api, address)
    if known:
        return known
    spelled = base_url.rstrip("/")
    stored = [parts_of(namespace) for (namespace,) in (yield Statement(_NAMESPACES))]
    here = [part for part in stored if (part[0], same_address(part[1], own_paths)) == (api, address)]
    found = list(dict.fromkeys(url for _, url, _, _ in here))
    first = spelled if spelled in found or not found else found[0]
    spellings = [first, *(url for url in found if url != first)]
    if not (yield Statement(_INSERT, (api, address, msgspec.json.encode(spellings).decode()))):
        raise RetryTransaction  # another replica was faster
    for _, url, account, scope in here:
        if url != first:
            renamed = (namespace_of(api, url, account, scope), namespace_of(api, first, account, scope))
            yield Statement(_RENAME, renamed)
            yield Statement(_RENAME_PINS, renamed)
    return spellings
