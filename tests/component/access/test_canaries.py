"""No secret leaves the gateway: every route and error path is exercised, and everything it writes is searched."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from gateway.api.openapi import ROUTES
from gateway.api.route import Route
from gateway.app import plugins
from gateway.domain.ownership import OWNER_MARK
from tests.access_table import AccessRow, access_table
from tests.component.access.canaries import (
    ADMIN,
    CONFIG,
    DETAILS,
    ENV_VALUE,
    INVALID,
    MAKER,
    PROXY,
    PROXY_PASSWORD,
    QUERY_KEY,
    SENT,
    TOKEN,
    WRONG_KEY,
    Search,
    Served,
    served,
    whole_text,
)
from tests.component.access.dialect_owners import labels_at_provider
from tests.component.access.matrix_calls import APIS, Thing, apis_of, body_of, make, make_principal, paths
from tests.component.fleets import Fleet
from tests.component.whole_gateway import Response

AT_ONCE: Final = 12
ROWS: Final = [row for row in access_table(plugins()) if row.method != "any method"]
_RETURNS_CONNECTIONS: Final = ("/connections", "/start", "/connections/revoke")
_FAULTS: Final[tuple[dict[str, Any], ...]] = (
    *({"fault": "status", "status": status} for status in (400, 401, 402, 403, 404, 409, 422, 429, 500, 503)),
    {"fault": "html"},
    {"fault": "malformed_json"},
    {"fault": "drop_before"},
    {"fault": "half_body"},
)


def secrets_returned(row: AccessRow, path: str, search: Search, answer: Response) -> Iterable[str]:
    """The secrets that a call is there to return: those of connections to its owner, a new key, and the config."""
    if answer.status >= 400:
        return [QUERY_KEY] if path.endswith(f"/{QUERY_KEY}") else []  # the caller's own path, in what is missing
    if row.path.startswith("/v1/keys") and row.method == "POST":
        return [answer.json["key"]]
    if row.path.endswith("/config"):
        return [ENV_VALUE]
    if row.path.startswith("/bctrl/") or row.path.endswith(_RETURNS_CONNECTIONS):
        search.learn(answer.json)
        return tuple(search.made)
    return ()


class Calls:
    """Makes calls to all routes, and searches the answers."""

    def __init__(self, gateway: Served, search: Search, things: dict[str, Thing]) -> None:
        self._gateway, self._search, self._things = gateway.gateway, search, things
        self.statuses: set[int] = set()
        self.codes: set[str] = set()

    async def ask(self, row: AccessRow, path: str, body: Any = None, **headers: str) -> Response:
        answer = await self._gateway.call(row.method, path, body, **headers)
        self.statuses.add(answer.status)
        if answer.status >= 400 and isinstance(answer.json, dict):
            self.codes.add(str(answer.json.get("code")))
        if row.path.startswith("/v1/keys") and row.method == "POST" and answer.status == 201:
            self._search.made.add(answer.json["key"])
        where = f"{row.method} {path}: {answer.status}"
        self._search.text(whole_text(answer), where, returns=secrets_returned(row, path, self._search, answer))
        return answer

    async def everywhere(self, suffix: str = "", body: Any = ..., **headers: str) -> None:
        """Make every call of every surface."""
        free = asyncio.Semaphore(AT_ONCE)

        async def one(row: AccessRow, thing: Thing) -> None:
            async with free:
                sent = _with_secrets(row, body_of(row, thing), thing.api) if body is ... else body
                path = (next(paths(row, thing)) + suffix).replace("//", "/", 1)  # not the address of a host
                await self.ask(row, path, None if row.method == "GET" else sent, **headers)

        about = [(row, self._things[api]) for row in ROWS for api in apis_of(row)]
        about.sort(key=lambda pair: pair[0].method == "DELETE")
        await asyncio.gather(*(one(row, thing) for row, thing in about))

    async def while_failing(self, rule: dict[str, Any]) -> None:
        """Make every call while the providers fail in this way, with errors that repeat the credentials they got."""
        for upstream in self._gateway.upstreams.values():
            echo = {"detail": f"Bearer {upstream.token} is refused"} if rule["fault"] == "status" else {}
            upstream.fault(**rule, **echo)
        await self.everywhere()
        for upstream in self._gateway.upstreams.values():
            upstream.emulator.faults.end_all()

    async def native(self) -> None:
        """Use the providers' own APIs. Their answers are passed on as they are, also with what they repeat."""
        for api, upstream in self._gateway.upstreams.items():
            for fails in (False, True):
                if fails:
                    upstream.fault(fault="status", status=400, detail=f"not {upstream.token}, {PROXY_PASSWORD}")
                for path in ("api/v1/user", "v1/browsers", "v1/none"):
                    whole = f"/native/{upstream.name}/{path}?api_key={QUERY_KEY}"
                    answer = await self._gateway.call("GET", whole, None, Cookie=f"token={ENV_VALUE}")
                    self._search.text(json.dumps(dict(answer.headers)), f"{api} /native")
            upstream.emulator.faults.end_all()

    async def creates_while_failing(self, rule: dict[str, Any]) -> None:
        """Make creates and changes of configs that fail with errors that repeat what the provider got."""
        for api, upstream in self._gateway.upstreams.items():
            detail = f"cannot use {SENT[api]} with {upstream.token}"
            for operation in {"create", "replace_config"} & set(upstream.emulator.operations.values()):
                upstream.fault(operation, **rule, **({"detail": detail} if rule["fault"] == "status" else {}))
            for row in ROWS:
                creates = row.method == "POST" and row.path.endswith(("/runtimes", "/browsers")) and not _is_flat(row)
                if (creates or row.path.endswith("/config")) and row.method != "GET" and api in apis_of(row):
                    thing = replace(self._things[api], name=f"failing-{len(self.statuses)}-{api}".replace("_", "-"))
                    await self.ask(row, next(paths(row, thing)), _with_secrets(row, body_of(row, thing), api))
            upstream.emulator.faults.end_all()


def _with_secrets(row: AccessRow, body: Any, api: str) -> Any:
    """The body of a create or of a config, with secrets in it."""
    if row.path.endswith("/config") and row.method == "PUT":
        return {"config": CONFIG}
    if row.method != "POST" or not row.path.endswith(("/runtimes", "/browsers")):
        return body
    if row.api is None:
        return {**body, **DETAILS[api]}
    proxy = {key: value for key, value in PROXY.items() if key != "type"}
    native: dict[str, Any] = {
        "durable": {"config": CONFIG},
        "bctrl": {"launch": {"mode": "ephemeral", "proxy": PROXY}},
        "bctrl_browsers": {"proxy": {"type": "custom", "protocol": "http", **proxy}},
    }
    return body if _is_flat(row) else {**body, **native[row.api]}


def _is_flat(row: AccessRow) -> bool:
    """Whether a call belongs to the era of the browser API whose creates have no proxy."""
    return row.path.startswith("/bctrl/v1/runtimes")


def written(gateway: Served) -> list[Path]:
    """The files of the store and of the audit trail's journal."""
    return [path for path in gateway.store.rglob("*") if path.is_file() and path.suffix != ".key"]


async def things_with_secrets(gateway: Served, search: Search) -> dict[str, Thing]:
    """A runtime of every API, a principal and its key."""
    things = {}
    for api in APIS:
        upstream = gateway.gateway.upstreams[api]
        body = {"kind": upstream.kind, "provider": upstream.name, "name": f"secretive-{api}".replace("_", "-")}
        made = await gateway.gateway.call(
            "POST", "/v1/runtimes", {**body, **DETAILS[api]}, Authorization=f"Bearer {MAKER}"
        )
        assert made.status == 201, made.text
        search.text(whole_text(made), f"a create at {api}")
        if api != "bctrl":
            (labels,) = labels_at_provider(upstream)
            search.made.add(labels[OWNER_MARK])
        thing = things[api] = await make_principal(gateway.gateway, await make(gateway.gateway, MAKER, api))
        key = await gateway.gateway.call("POST", "/v1/keys", {"principal": thing.principal})
        assert key.status == 201, key.text
        search.made.add(key.json["key"])
    return things


def _pages() -> Iterable[str]:
    site: Iterable[Route] = (route for route in ROUTES if not route.secured and "{" not in route.path)
    yield from (route.path for route in site)
    yield from (
        "/docs/access",
        "/docs/settings",
        "/docs/errors/permission_denied",
        "/metrics",
        "/v1/providers",
        "/v1/providers/durable-demo/history",
        "/v1/me",
    )


async def test_no_secret_is_in_an_answer_a_log_a_metric_a_page_the_store_or_the_command_line(fleet: Fleet) -> None:
    search = Search()
    async with served(fleet) as gateway:
        things = await things_with_secrets(gateway, search)
        calls = Calls(gateway, search, things)
        wrong = {"Authorization": "", "X-API-Key": WRONG_KEY}
        await calls.everywhere(**wrong)
        await calls.everywhere(**{"X-API-Key": WRONG_KEY})  # beside the right key
        await calls.everywhere(Authorization=f"Bearer {TOKEN}")
        await calls.everywhere(f"?api_key={QUERY_KEY}&token={QUERY_KEY}")
        await calls.everywhere(f"/{QUERY_KEY}")
        await calls.everywhere(body=INVALID)
        await calls.everywhere(body=[ENV_VALUE, PROXY_PASSWORD])
        await calls.everywhere(Authorization=f"Bearer {MAKER}")
        await calls.native()
        for rule in _FAULTS:
            await calls.while_failing(rule)
            await calls.creates_while_failing(rule)
        await calls.everywhere(Authorization=f"Bearer {ADMIN}")
        for page in _pages():
            answer = await gateway.gateway.call("GET", page)
            assert answer.status == 200, page
            search.text(whole_text(answer), page)
        search.text(gateway.command_line(), "the command line")
        stored = written(gateway)
        assert {path.suffix for path in stored} >= {".db", ".db-wal"}
        search.files(path for path in stored if path.suffix != ".jsonl")  # the journal may drop its files meanwhile
        gateway.process.send_signal()
        assert await gateway.process.wait() == 0
        await gateway.process.until_output('"event":"stopped"')
        log = gateway.log()
    for line in log.splitlines():
        search.text(line, "the log")
    search.files(written(gateway))
    assert search.found == [], f"{len(search.found)}:\n" + "\n".join(search.found[:20])
    assert calls.statuses >= {200, 201, 204, 400, 401, 403, 404, 409, 422, 429, 502, 503}, calls.statuses
    assert len(calls.codes) > 15, calls.codes
    assert {made.startswith("rtgw_") for made in search.made} == {True, False}  # keys, and tokens of runtimes
    assert "unexpected_error" not in log
    requests = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert {line["level"] for line in requests} >= {"debug", "info"}
    outcomes = {line["outcome"] for line in requests if line["event"] == "audit"}
    assert outcomes == {"ok", "refused", "failed", "unknown"}


async def test_secrets_in_texts_and_files_are_found(fleet: Fleet) -> None:
    search = Search({"sbx_made-meanwhile"})
    for text in ("a canary-env-value", "sbx_made-meanwhile", "canary-token-of-durable"):
        search.text(text, "here")
    search.text(ENV_VALUE, "a config", returns=[ENV_VALUE])
    file = fleet.folder / "file"
    file.write_bytes(b"\0" + PROXY_PASSWORD.encode().hex().encode())
    search.files([file])
    assert len(search.found) == 4
