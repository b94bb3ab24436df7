"""Uses the provider's own client of the current era, as a user's program would, and prints the results.

Run by the interpreter that has the client: ``python bctrl_current_client.py '{"client": "Bctrl", "url": …}'``; with
``AsyncBctrl`` every result is awaited. ``control`` is the emulator behind ``url``.
"""

import asyncio
import inspect
import json
import sys
from collections.abc import Callable
from typing import Any
from urllib.request import Request, urlopen

import bctrl

OPTIONS = json.loads(sys.argv[1])
STEPS: dict[str, Any] = {}
LOOP = asyncio.new_event_loop()
ONCE: Any = {"max_retries": 0}


def control(path: str, body: Any = None) -> Any:
    """Call the emulator's control routes."""
    raw = None if body is None else json.dumps(body).encode()
    with urlopen(Request(OPTIONS["control"] + path, data=raw)) as answer:  # noqa: S310 (loopback)
        return json.loads(answer.read())


def fault(operation: str, **rule: Any) -> None:
    """Make the next call of an operation fail."""
    control("/__faults", {"operation": operation, "times": 1, **rule})


def done(result: Any) -> Any:
    """The result, awaited if the client is asynchronous."""
    return LOOP.run_until_complete(result) if inspect.isawaitable(result) else result


def envelope(body: Any) -> dict[str, Any]:
    """The members of an error; the client parses some errors."""
    if isinstance(body, dict):
        return body["error"]
    return {"code": body.error.code, "reasonClass": body.error.reason_class, "requestId": body.error.request_id}


def step(name: str, work: Callable[[], Any], show: Callable[[Any], Any] = lambda result: result) -> Any:
    """Run one step and record its result."""
    try:
        result = done(work())
    except bctrl.BctrlError as error:
        error_body = envelope(error.body)
        STEPS[name] = {
            "raised": type(error).__name__,
            "status": error.status_code,
            "code": error_body["code"],
            "reason": error_body["reasonClass"],
            "request_id": bool(error_body["requestId"]),
            "retry_after": (error.headers or {}).get("retry-after"),
        }
        return None
    STEPS[name] = show(result)
    return result


def shown(browser: Any) -> list[Any]:
    """The members of a browser that the test compares."""
    run = browser.current_run
    links = run.connections if run is not None else None
    urls = [links.cdp_url, links.webdriver_url, links.live_view_url, links.live_view_read_only_url] if links else []
    return [
        browser.name,
        browser.space_id,
        browser.status,
        None if run is None else run.status,
        [url.partition("?")[0].rpartition("/")[2] for url in urls],
        browser.headless,
        browser.metadata,
        browser.timeout_seconds,
    ]


def client(**options: Any) -> Any:
    """A client, created as in a user's program."""
    return getattr(bctrl, OPTIONS["client"])(**{"token": OPTIONS["key"], "base_url": OPTIONS["url"], **options})


def pages(**query: Any) -> list[list[str]]:
    """The names of a whole list, page by page."""
    found, cursor = [], None
    while True:
        page = done(api.browsers.list(cursor=cursor, **query) if cursor else api.browsers.list(**query))
        found.append([browser.name for browser in page.data])
        if not page.has_more:
            return found
        cursor = page.next_cursor


api = client()
made = step(
    "create",
    lambda: api.browsers.create(
        name="shop", wait=10, metadata={"n": 1}, timeout_seconds=600, viewport={"width": 800, "height": 600}
    ),
    shown,
)
keyed = [done(api.browsers.create(name="keyed", idempotency_key="key-1")).id for _ in range(2)]
STEPS["the same key is the same browser"] = len(set(keyed))
nameless = [done(api.browsers.create(idempotency_key="key-2")) for _ in range(2)]
STEPS["also without a name"] = [len({browser.id for browser in nameless}), len(nameless[0].name) > 1]
step("the same key for another", lambda: api.browsers.create(name="other", idempotency_key="key-1"))
step("get", lambda: api.browsers.get(made.id), shown)
step("get by name", lambda: api.browsers.get("shop", wait=1), shown)
step(
    "start what runs",
    lambda: api.browsers.start(made.id),
    lambda browser: browser.current_run.id == made.current_run.id,
)
step("revoke", lambda: api.browsers.connections.revoke(made.id), shown)
step("stop", lambda: api.browsers.stop(made.id, wait=10), shown)
step("update", lambda: api.browsers.update(made.id, headless=True, metadata={"n": 2}), shown)
step("start", lambda: api.browsers.start(made.id, wait=10, idempotency_key="start-1"), shown)
step("start again under the key", lambda: api.browsers.start(made.id, wait=10, idempotency_key="start-1"), shown)
step("stop without the state", lambda: api.browsers.stop(made.id, wait=5, discard_state=True), shown)
for number in range(3):
    done(api.browsers.create(name=f"more-{number}"))
STEPS["pages"] = [names for names in pages(limit=2, order="asc") if nameless[0].name not in names]
STEPS["idle ones"] = pages(status="idle")
step("by name", lambda: api.browsers.list(name="more-1"), lambda page: [browser.name for browser in page.data])
step("in its space", lambda: api.browsers.list(space_id="sp_demo", q="shop"), lambda page: len(page.data))
step("name is taken", lambda: api.browsers.create(name="more-1"))
step("not valid", lambda: api.browsers.create(name="odd", stealth="most-of-all"))
step("no such cursor", lambda: api.browsers.list(cursor="nonsense"))
step("delete", lambda: api.browsers.delete(made.id), lambda gone: [gone.id == made.id, gone.deleted])
step("deleted", lambda: api.browsers.get(made.id))
step("delete again", lambda: api.browsers.delete(made.id))
step("wrong token", client(token="not-the-token-of-anybody").browsers.list)
step("another version", client(headers={"BCTRL-Version": "2020-01-01"}).browsers.list)
for status, operation, more in (
    (429, "start", {"retry_after": 7}),
    (503, "start", {}),
    (402, "create", {}),
    (403, "get", {"detail": "Not in your plan.", "code": "capability.not_available"}),
    (409, "stop", {"code": "browser.stop_pending"}),
    (500, "get", {"code": "internal.error"}),
):
    fault(operation, fault="status", status=status, **more)
    call: Callable[[], Any] = {
        "get": lambda: api.browsers.get(keyed[0], request_options=ONCE),
        "create": lambda: api.browsers.create(name="unpaid", request_options=ONCE),
        "start": lambda: api.browsers.start(keyed[0], request_options=ONCE),
        "stop": lambda: api.browsers.stop(keyed[0], request_options=ONCE),
    }[operation]
    step(f"{operation} answered with {status}", call)
fault("create", fault="status", status=429, retry_after=1)
step(
    "create sent again after 429", lambda: api.browsers.create(name="late", idempotency_key="late-1"), lambda b: b.name
)
STEPS["late ones"] = sum(map(len, pages(name="late")))
sys.stdout.write(json.dumps({"steps": STEPS, "live": control("/__stats")["live_runtimes"]}))
