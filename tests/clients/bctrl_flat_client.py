"""Uses the provider's own client of the flat era, as a user's program would, and prints the results.

Run by the interpreter that has the client: ``python bctrl_flat_client.py '{"module": "bctrl", "url": …}'``. ``control``
is the emulator behind ``url``, and ``prefix`` what its operations are called with before their names.
"""

import json
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any
from urllib.request import Request, urlopen

OPTIONS = json.loads(sys.argv[1])
SDK = import_module(OPTIONS["module"])
STEPS: dict[str, Any] = {}
TRIES = 3  # attempts of the gateway for a read


def control(path: str, body: Any = None) -> Any:
    """Call the emulator's control routes."""
    raw = None if body is None else json.dumps(body).encode()
    with urlopen(Request(OPTIONS["control"] + path, data=raw)) as answer:  # noqa: S310 (loopback)
        return json.loads(answer.read())


def fault(operation: str, **rule: Any) -> None:
    """Make the next call of an operation fail."""
    control("/__faults", {"operation": OPTIONS["prefix"] + operation, "times": 1, **rule})


def no_faults() -> None:
    """Remove all faults."""
    with urlopen(Request(OPTIONS["control"] + "/__faults", method="DELETE")):  # noqa: S310 (loopback)
        pass


def step(name: str, work: Callable[[], Any]) -> Any:
    """Run one step and record its result."""
    try:
        record = result = work()
    except SDK.BctrlError as error:
        record, result = {"raised": type(error).__name__}, None
        for field in ("status_code", "code"):
            record[field] = getattr(error, field, None)
        record["request_id"] = bool(getattr(error, "request_id", None))
    STEPS[name] = record
    return result


def client(**options: Any) -> Any:
    """A client, created as in a user's program."""
    return SDK.Bctrl(**{"api_key": OPTIONS["key"], "base_url": OPTIONS["url"], **options})


def connected(started: Any) -> dict[str, Any]:
    """The connection of a started runtime, in the spelling of the client's version."""
    if hasattr(type(started), "connect_url"):
        urls = {"cdp": started.connect_url, "protocol": started.protocol}
    else:
        urls = {"cdp": started.cdp_url, "web_driver": bool(started.web_driver_url), "web_mcp": started.web_mcp_url}
    return {**urls, "cdp": urls["cdp"].partition("?")[0].rpartition("/")[2], "run": started.run_id[:4]}


def within() -> dict[str, Any]:
    """A runtime for the length of a block."""
    with api.runtimes.started_browser(name="shop", metadata={"team": "shop"}) as started:
        inside = api.runtimes.get(started.id)
        ids.append(started.id)
        return {
            **connected(started),
            "inside": [inside["status"], inside["name"], inside["metadata"], inside["activeRunId"] == started.run_id],
        }


def shown(runtime: dict[str, Any]) -> list[Any]:
    """The members of a runtime that the test compares."""
    return [runtime["name"], runtime["status"], runtime["activeRunId"] is None, runtime["type"]]


api, once = client(), client(max_retries=0)
ids: list[str] = []
step("started_browser", within)
step("stopped after the block", lambda: shown(api.runtimes.get(ids[0])))


def again() -> list[Any]:
    first = api.runtimes.start(ids[0], idempotency_key="start-1")
    second = api.runtimes.start(ids[0])
    same = first["connectUrl"] == second["connectUrl"] and first["runId"] == second["runId"]
    return [first["started"], second["started"], same, first["protocol"], first["status"], first["runtimeId"] == ids[0]]


step("start", again)
step("delete while active", lambda: api.runtimes.delete(ids[0]))
stopped = step("stop", lambda: api.runtimes.stop(ids[0]))
STEPS["stop"] = [stopped["runtimeId"] == ids[0], stopped["runId"] is not None, stopped["stopped"], stopped["status"]]
STEPS["stop again"] = api.runtimes.stop(ids[0])["stopped"]
step("update", lambda: shown(api.runtimes.update(ids[0], name="shop-2", config={"headless": True})))
step("updated", lambda: api.runtimes.get(ids[0])["config"]["headless"])
for number in range(4):
    api.runtimes.create(type="browser", name=f"more-{number}")
page = api.runtimes.list(limit=2)
STEPS["page"] = [[row["name"] for row in page["data"]], page["nextCursor"] is not None]
step("iterate", lambda: [row["name"] for row in api.runtimes.iter(limit=2)])
step("search", lambda: [row["name"] for row in api.runtimes.list(q="shop")["data"]])
step("name is taken", lambda: api.runtimes.create(type="browser", name="more-1"))
step("not valid", lambda: api.runtimes.create(type="spaceship"))
step("delete", lambda: api.runtimes.delete(ids[0])["deleted"])
step("deleted", lambda: api.runtimes.get(ids[0]))
step("wrong key", client(api_key="not-the-key-of-anybody").runtimes.list)
fault("list", fault="status", status=429, retry_after=0, times=TRIES)
step("rate limited", once.runtimes.list)
no_faults()
fault("list", fault="status", status=429, retry_after=0)
step("rate limited, then sent again", lambda: len(api.runtimes.list()["data"]))
fault("list", fault="status", status=503, times=TRIES)
step("unavailable", once.runtimes.list)
no_faults()
fault("create", fault="status", status=402)
step("no credits", lambda: once.runtimes.create(type="browser", name="unpaid"))
sys.stdout.write(json.dumps({"steps": STEPS, "live": control("/__stats")["live_runtimes"]}))
