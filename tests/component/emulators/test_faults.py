"""The faults of the emulator kit, observed by a client over a real socket."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import aiohttp
import pytest

from gateway.testing.emulator import Emulator
from gateway.testing.exchange import Answer, Call, Made, Refusal, Route
from gateway.testing.faults import Faults
from gateway.testing.processes import running


class Shelf(Emulator):
    """A minimal provider: things with names."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.things: list[str] = []

    def authenticate(self, headers: Mapping[str, str]) -> str:
        if headers.get("Authorization") != "Bearer secret":
            raise Refusal(self.failure(401, "who are you"))
        return "me"

    def failure(self, status: int, detail: str, code: str | None = None) -> Answer:
        return Answer(status, {"oops": detail, "kind": code or str(status)})

    def routes(self) -> Iterable[Route]:
        yield Route("create", "POST", "/things", self.create)
        yield Route("list", "GET", "/things", self.list)
        yield Route("get", "GET", "/things/{name}", self.get)

    def clear(self) -> None:
        self.things.clear()

    def counts(self) -> Mapping[str, int]:
        return {"runtimes": len(self.things), "live_runtimes": 0}

    def made(self) -> Iterable[Made]:
        return [Made(thing, thing, "shelf", live=True) for thing in self.things]

    def create(self, call: Call) -> Answer:
        body = call.json()
        if not isinstance(body, dict) or "name" not in body:
            raise Refusal(self.failure(422, "no name"))
        if body["name"] == "bug":
            raise RuntimeError("an unforeseen case")
        name = body["name"] + ("-again" if call.repeated else "")
        self.things.append(name)
        return Answer(201, {"id": f"thing-{name}", "name": name}, created=name)

    def list(self, call: Call) -> Answer:
        hidden = call.unseen.in_list()
        return Answer(body={"items": [thing for thing in self.things if thing not in hidden]})

    def get(self, call: Call) -> Answer:
        name = call.path["name"]
        if name not in self.things or call.unseen.in_get(name):
            raise Refusal(self.failure(404, "no such thing"))
        return Answer(body={"name": name})


class Sleeps:
    """A replacement for sleeping: every sleep lasts until ``wake``."""

    def __init__(self) -> None:
        self.requested: list[float] = []
        self.wake = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        self.requested.append(seconds)
        await self.wake.wait()


class Client:
    def __init__(self, session: aiohttp.ClientSession, emulator: Shelf) -> None:
        self.session = session
        self.emulator = emulator

    async def call(self, method: str, path: str, body: Any = None, **options: Any) -> tuple[int, Any]:
        async with self.session.request(method, path, json=body, **options) as response:
            return response.status, await response.json()

    async def fault(self, operation: str, fault: str, **parameters: Any) -> None:
        status, _ = await self.call("POST", "/__faults", {"operation": operation, "fault": fault, **parameters})
        assert status == 201

    async def create(self, name: str = "one") -> tuple[int, Any]:
        return await self.call("POST", "/things", {"name": name})

    async def stats(self) -> dict[str, Any]:
        stats: dict[str, Any] = (await self.call("GET", "/__stats"))[1]
        return stats


@pytest.fixture
def sleeps() -> Sleeps:
    return Sleeps()


@pytest.fixture
async def client(sleeps: Sleeps) -> AsyncIterator[Client]:
    emulator = Shelf(sleep=sleeps)
    async with (
        running(emulator.application(max_body=1000)) as url,
        aiohttp.ClientSession(url, headers={"Authorization": "Bearer secret"}) as session,
    ):
        yield Client(session, emulator)


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "/nowhere", {}, 404),
        ("PUT", "/things", {}, 405),
        ("POST", "/things", {"data": b"{nope"}, 400),
        ("POST", "/things", {"data": b'{"name": NaN}'}, 400),
        ("POST", "/things", {"data": b"[" * 900}, 400),
        ("POST", "/things", {"data": b"\xff"}, 400),
        ("POST", "/things", {"data": b"x" * 1001}, 413),
        ("POST", "/things", {"json": {}}, 422),
        ("POST", "/things", {"json": {"name": "x"}, "headers": {"Authorization": "Bearer other"}}, 401),
    ],
)
async def test_every_error_has_the_providers_envelope(
    client: Client, method: str, path: str, options: dict[str, Any], status: int
) -> None:
    async with client.session.request(method, path, **options) as response:
        assert (response.status, response.content_type) == (status, "application/json")
        assert (await response.json())["kind"] == str(status)
        assert ("Allow" in response.headers) == (status == 405)
    assert client.emulator.things == []


async def test_exception_in_the_emulator_is_a_500_and_logged(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    assert (await client.create("bug"))[0] == 500
    assert "an unforeseen case" in caplog.text


async def test_recorded_requests_have_no_credentials(client: Client) -> None:
    await client.call("POST", "/things?a=1&a=2", {"name": "one"}, headers={"X-API-Key": "hush", "X-Request-ID": "r1"})
    await client.call("GET", "/things")
    async with client.session.post("/things", data=b"{nope") as response:
        assert response.status == 400
    items = (await client.call("GET", "/__requests", params={"operation": "create"}))[1]["items"]
    assert [item["body"] for item in items] == [{"name": "one"}, "{nope"]
    first = items[0]
    assert (first["number"], first["method"], first["path"], first["status"]) == (1, "POST", "/things", 201)
    assert first["query"] == [["a", "1"], ["a", "2"]]
    assert first["headers"]["x-request-id"] == "r1"
    assert "secret" not in str(items)
    assert "hush" not in str(items)
    assert (await client.stats())["requests"] == {"create": 2, "list": 1}


async def test_record_of_requests_is_bounded() -> None:
    emulator = Shelf(kept_requests=3)
    async with running(emulator.application()) as url, aiohttp.ClientSession(url) as session:
        for index in range(5):
            async with session.get(f"/things/{index}") as response:
                assert response.status == 401
    assert [entry.path for entry in emulator.requests.received()] == ["/things/2", "/things/3", "/things/4"]
    assert emulator.stats()["requests"] == {"get": 5}


async def test_delay_uses_the_given_sleep(client: Client, sleeps: Sleeps) -> None:
    await client.fault("create", "delay_before", seconds=30, times=1)
    pending = asyncio.create_task(client.create())
    await client.emulator.until_waiting()
    assert (sleeps.requested, client.emulator.things) == ([30.0], [])
    sleeps.wake.set()
    assert await pending == (201, {"id": "thing-one", "name": "one"})


@pytest.mark.parametrize("fault", ["delay_before", "hold"])
async def test_commit_happens_after_the_client_has_left(client: Client, sleeps: Sleeps, fault: str) -> None:
    await client.fault("create", fault, **({"seconds": 30} if fault == "delay_before" else {}))
    pending = asyncio.create_task(client.create())
    await client.emulator.until_waiting()
    pending.cancel()
    await asyncio.gather(pending, return_exceptions=True)
    assert client.emulator.things == []
    sleeps.wake.set()
    client.emulator.release("create")
    await client.emulator.until_committed("create")
    assert client.emulator.things == ["one"]


@pytest.mark.parametrize("fault", ["delay_after", "hold_after"])
async def test_call_that_waits_after_the_commit_has_committed(client: Client, sleeps: Sleeps, fault: str) -> None:
    await client.fault("create", fault, **({"seconds": 30} if fault == "delay_after" else {}))
    pending = asyncio.create_task(client.create())
    await client.emulator.until_waiting()
    assert client.emulator.things == ["one"]
    assert (await client.stats())["waiting"] == 1
    sleeps.wake.set()
    client.emulator.release()
    assert (await pending)[0] == 201
    assert (await client.stats())["waiting"] == 0


async def test_release_of_one_operation_returns_the_number_of_calls(client: Client) -> None:
    await client.fault("*", "hold", times=2)
    creating, listing = (asyncio.create_task(client.create()), asyncio.create_task(client.call("GET", "/things")))
    await client.emulator.until_waiting(2)
    assert await client.call("POST", "/__release?operation=list") == (200, {"released": {"calls": 1, "runtimes": 0}})
    assert await listing == (200, {"items": []})
    assert await client.call("POST", "/__release") == (200, {"released": {"calls": 1, "runtimes": 0}})
    assert (await creating)[0] == 201
    assert (await client.call("POST", "/__release?operation=other"))[0] == 400


@pytest.mark.parametrize(("fault", "made"), [("hang", []), ("hang_after", ["one"])])
async def test_hang_lasts_until_the_client_leaves(client: Client, fault: str, made: list[str]) -> None:
    await client.fault("create", fault, times=1)
    pending = asyncio.create_task(client.create())
    await client.emulator.until_waiting()
    pending.cancel()
    await asyncio.gather(pending, return_exceptions=True)
    await client.emulator.watch.until(lambda: client.emulator.waiting == 0)
    assert client.emulator.things == made


@pytest.mark.parametrize("fault", ["hang", "hold", "hold_after"])
async def test_emulator_that_stops_ends_waiting_calls(fault: str) -> None:
    emulator = Shelf()
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer secret"}) as session:
        async with running(emulator.application()) as url:
            async with session.post(f"{url}/__faults", json={"operation": "create", "fault": fault}) as response:
                assert response.status == 201
            pending = asyncio.create_task(session.post(f"{url}/things", json={"name": "one"}))
            await emulator.until_waiting()
        with pytest.raises(aiohttp.ClientConnectionError):
            await pending


@pytest.mark.parametrize(("fault", "made"), [("drop_before", []), ("drop_after", ["one"])])
async def test_dropped_call_has_no_response(client: Client, fault: str, made: list[str]) -> None:
    await client.fault("create", fault, times=1)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await client.create()
    assert client.emulator.things == made
    assert client.emulator.requests.received("create")[0].status is None


async def test_status_fault_replaces_the_commit(client: Client) -> None:
    await client.fault("create", "status", status=429, retry_after=7, code="slow_down", detail="Too fast.", times=1)
    async with client.session.post("/things", json={"name": "one"}) as response:
        assert (response.status, response.headers["Retry-After"]) == (429, "7")
        assert await response.json() == {"oops": "Too fast.", "kind": "slow_down"}
    assert client.emulator.things == []
    assert await client.create() == (201, {"id": "thing-one", "name": "one"})


@pytest.mark.parametrize(
    ("body", "content_type", "media_type"),
    [("gone fishing", None, "text/plain"), ("<html>", "text/html", "text/html"), ({"a": 1}, None, "application/json")],
)
async def test_status_fault_can_have_any_body(
    client: Client, body: Any, content_type: str | None, media_type: str
) -> None:
    more = {"content_type": content_type} if content_type else {}
    await client.fault("list", "status", status=503, body=body, **more)
    async with client.session.get("/things") as response:
        assert (response.status, response.content_type) == (503, media_type)
        assert (await response.json() if media_type == "application/json" else await response.text()) == body


async def test_redirect_has_a_location(client: Client) -> None:
    await client.fault("create", "status", status=307, location="/things", times=1)
    async with client.session.post("/things", json={"name": "one"}, allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (307, "/things")
    assert client.emulator.things == []


@pytest.mark.parametrize("seconds", [30, None])
async def test_late_commit_happens_after_its_response(client: Client, sleeps: Sleeps, seconds: float | None) -> None:
    """As behind a proxy that timed out. The commit is complete, and other faults apply to it."""
    after = {} if seconds is None else {"seconds": seconds}
    await client.fault("create", "commit_late", **after, body="<html>", content_type="text/html", times=1)
    await client.fault("create", "get_lag", reads=1)
    async with client.session.post("/things", json={"name": "one"}) as response:
        assert (response.status, response.content_type) == (504, "text/html")
    await client.emulator.until_waiting()
    assert client.emulator.things == []
    sleeps.wake.set()
    client.emulator.release("create")
    await client.emulator.until_committed("create")
    assert sleeps.requested == ([] if seconds is None else [30.0])
    assert (await client.stats())["creates_committed"] == 1
    assert [(await client.call("GET", "/things/one"))[0] for _ in range(2)] == [404, 200]


async def test_control_route_shows_runtimes_that_reads_do_not_show(client: Client) -> None:
    await client.fault("create", "list_lag")
    await client.create("one")
    await client.create("two")
    assert (await client.call("GET", "/things"))[1] == {"items": []}
    shown = {"scope": "shelf", "live": True, "marker": None, "key": None}
    items = (await client.call("GET", "/__runtimes"))[1]["items"]
    assert items == [{"id": name, "name": name, **shown} for name in ("one", "two")]
    assert (await client.call("GET", "/__runtimes", params={"name": "two"}))[1]["items"] == items[1:]


@pytest.mark.parametrize("status", [307, 402, 408, 409, 429, 500, 502, 503, 504])
async def test_status_after_the_commit_hides_the_success(client: Client, status: int) -> None:
    await client.fault("create", "status_after", status=status)
    body = {"name": "one"}
    assert (await client.call("POST", "/things", body, allow_redirects=False))[0] == status
    assert client.emulator.things == ["one"]
    assert (await client.stats())["creates_committed"] == 1


async def test_refused_call_does_not_fire_faults_that_need_a_commit(client: Client) -> None:
    await client.fault("create", "status_after", status=500, times=1)
    await client.fault("create", "commit_twice", times=1)
    assert (await client.call("POST", "/things", {}))[0] == 422
    assert (await client.stats())["faults_fired"] == {}
    assert (await client.create())[0] == 500
    assert (await client.stats())["faults_fired"] == {"status_after": 1, "commit_twice": 1}


async def test_call_can_commit_twice(client: Client) -> None:
    await client.fault("create", "commit_twice", times=1)
    assert await client.create() == (201, {"id": "thing-one", "name": "one"})
    assert client.emulator.things == ["one", "one-again"]
    stats = await client.stats()
    assert (stats["creates_committed"], stats["committed"], stats["runtimes"]) == (2, {"create": 2}, 2)


async def test_half_body_ends_early(client: Client) -> None:
    await client.fault("create", "half_body")
    with pytest.raises(aiohttp.ClientPayloadError):
        await client.create()
    assert client.emulator.things == ["one"]


async def test_malformed_json_is_complete_but_cannot_be_parsed(client: Client) -> None:
    await client.fault("create", "malformed_json")
    with pytest.raises(ValueError, match="delimiter"):
        await client.create()
    assert client.emulator.things == ["one"]


async def test_call_is_answered_as_another_request_without_a_commit(client: Client) -> None:
    await client.create("one")
    await client.fault("create", "other_answer")
    assert await client.create("two") == (201, {"id": "thing-one", "name": "one"})
    assert client.emulator.things == ["one"]


async def test_call_is_answered_as_another_request_after_the_commit(client: Client) -> None:
    await client.create("one")
    await client.fault("create", "other_answer_after")
    assert await client.create("two") == (201, {"id": "thing-one", "name": "one"})
    assert client.emulator.things == ["one", "two"]


async def test_call_is_never_answered_as_another_request_with_the_answer_of_the_same_request(client: Client) -> None:
    await client.fault("create", "other_answer", times=1)
    assert [await client.create("one") for _ in range(2)] == [(201, {"id": "thing-one", "name": "one"})] * 2
    assert (await client.stats())["faults_fired"] == {}
    assert await client.create("two") == (201, {"id": "thing-one", "name": "one"})
    assert (await client.stats())["faults_fired"] == {"other_answer": 1}


async def test_answer_after_the_commit_has_the_own_id_and_another_name(client: Client) -> None:
    await client.fault("create", "other_name_after", times=1)
    assert await client.create("one") == (201, {"id": "thing-one", "name": "one-of-another"})
    assert client.emulator.things == ["one"]


async def test_answer_without_a_commit_has_the_id_of_nothing_and_another_name(client: Client) -> None:
    await client.fault("create", "other_name", times=1)
    await client.create("one")
    status, body = await client.create("two")
    assert (status, body["name"]) == (201, "two-of-another")
    assert body["id"] not in {"thing-one", "thing-two"}
    assert client.emulator.things == ["one"]


@pytest.mark.parametrize("fault", ["other_name", "other_name_after"])
async def test_part_that_the_answers_do_not_contain_is_not_changed(client: Client, fault: str) -> None:
    await client.create("one")
    await client.fault("create", fault, part="scope")
    assert await client.create("two") == (201, {"id": "thing-two", "name": "two"})
    assert (await client.stats())["faults_fired"] == {}


@pytest.mark.parametrize("fault", ["other_answer_after", "other_name_after"])
async def test_refused_call_is_not_answered_as_another_request(client: Client, fault: str) -> None:
    await client.create("one")
    await client.fault("create", fault)
    assert (await client.call("POST", "/things", {}))[0] == 422


async def test_html_refusal_hides_the_success(client: Client) -> None:
    await client.fault("create", "html", status=403)
    async with client.session.post("/things", json={"name": "one"}) as response:
        assert (response.status, response.content_type) == (403, "text/html")
    assert client.emulator.things == ["one"]


async def test_html_can_replace_the_response(client: Client) -> None:
    await client.fault("create", "html", status=200)
    async with client.session.post("/things", json={"name": "one"}) as response:
        assert (response.status, response.content_type) == (200, "text/html")
    assert client.emulator.things == ["one"]


async def test_list_lags_for_the_given_number_of_reads(client: Client) -> None:
    await client.fault("create", "list_lag", reads=2, times=1)
    await client.create()
    await client.create("two")
    seen = [(await client.call("GET", "/things"))[1]["items"] for _ in range(3)]
    assert seen == [["two"], ["two"], ["one", "two"]]
    assert (await client.call("GET", "/things/one"))[0] == 200


async def test_get_lags_until_released(client: Client) -> None:
    await client.fault("create", "get_lag")
    await client.create()
    assert [(await client.call("GET", "/things/one"))[0] for _ in range(3)] == [404, 404, 404]
    assert (await client.call("GET", "/things"))[1] == {"items": ["one"]}
    assert (await client.call("POST", "/__release"))[1] == {"released": {"calls": 0, "runtimes": 1}}
    assert (await client.call("GET", "/things/one"))[0] == 200


async def test_rule_fires_after_a_number_of_calls_a_number_of_times(client: Client) -> None:
    await client.fault("list", "status", status=500, after=1, times=2)
    assert [(await client.call("GET", "/things"))[0] for _ in range(5)] == [200, 500, 500, 200, 200]
    rule = (await client.call("GET", "/__faults"))[1]["items"][0]
    assert (rule["seen"], rule["fired"], rule["status"]) == (5, 2, 500)


async def test_rule_that_lasts_for_a_time_ends_with_it(client: Client) -> None:
    now = 1000.0
    client.emulator.faults = Faults(lambda: now)
    await client.fault("list", "status", status=500, lasts=30)
    assert (await client.call("GET", "/things"))[0] == 500
    now += 20
    assert (await client.call("GET", "/__faults"))[1]["items"][0]["seconds_left"] == 10
    assert (await client.call("GET", "/things"))[0] == 500
    now += 10
    assert (await client.call("GET", "/things"))[0] == 200
    assert (await client.call("GET", "/__faults"))[1]["items"][0]["seconds_left"] == 0


async def test_same_seed_gives_the_same_faults(client: Client) -> None:
    async def statuses(seed: int) -> list[int]:
        await client.call("DELETE", "/__faults")
        await client.fault("list", "status", status=500, probability=0.5, seed=seed)
        return [(await client.call("GET", "/things"))[0] for _ in range(12)]

    first = await statuses(7)
    assert set(first) == {200, 500}
    assert await statuses(7) == first
    assert await statuses(8) != first


async def test_faults_and_operations_are_listed(client: Client) -> None:
    listed = (await client.call("GET", "/__faults"))[1]
    assert (listed["items"], listed["operations"]) == ([], ["create", "get", "list"])
    assert {"status", "other_answer", "other_answer_after", "other_name", "other_name_after"} < set(listed["faults"])


async def test_ended_rules_do_not_fire(client: Client) -> None:
    await client.fault("*", "status", status=500)
    assert (await client.create())[0] == 500
    assert await client.call("DELETE", "/__faults") == (200, {"ended": 1})
    assert (await client.create())[0] == 201


async def test_reset_forgets_everything(client: Client) -> None:
    await client.fault("create", "list_lag")
    await client.create()
    await client.fault("*", "status", status=500)
    stats = (await client.call("POST", "/__reset"))[1]
    assert stats == {
        "requests": {},
        "committed": {},
        "creates_committed": 0,
        "faults_fired": {},
        "waiting": 0,
        "runtimes": 0,
        "live_runtimes": 0,
    }
    await client.create()
    assert (await client.call("GET", "/things"))[1] == {"items": ["one"]}


@pytest.mark.parametrize(
    ("rules", "field"),
    [
        ({"operation": "create"}, "[0].fault"),
        ({"operation": "create", "fault": "meteor"}, "[0].fault"),
        ({"fault": "hang"}, "[0].operation"),
        ({"operation": "destroy", "fault": "hang"}, "[0].operation"),
        ([{"operation": "create", "fault": "hang"}, {"operation": "*", "fault": "status"}], "[1].status"),
        ({"operation": "create", "fault": "delay_after", "seconds": -1}, "[0].seconds"),
        ({"operation": "create", "fault": "hang", "times": 0}, "[0].times"),
        ({"operation": "create", "fault": "hang", "times": "2"}, "[0].times"),
        ({"operation": "create", "fault": "hang", "probability": 1.5}, "[0].probability"),
        ({"operation": "create", "fault": "hang", "seconds": 1}, "[0].seconds"),
        ({"operation": "list", "fault": "refuse"}, "[0]"),
        ({"operation": "*", "fault": "refuse", "times": 1}, "[0]"),
        ({"operation": "*", "fault": "refuse"}, "fault"),
        ([7], "[0]"),
    ],
)
async def test_invalid_rule_is_refused_with_its_field_and_none_applies(client: Client, rules: Any, field: str) -> None:
    status, body = await client.call("POST", "/__faults", rules)
    assert (status, body["field"]) == (400, field)
    assert (await client.call("GET", "/__faults"))[1]["items"] == []


async def test_rules_that_are_not_json_are_refused(client: Client) -> None:
    async with client.session.post("/__faults", data=b"{") as response:
        assert (response.status, (await response.json())["field"]) == (400, "body")
