"""The provider's own clients (PyPI ``bctrl``) work with nothing but base URL and key changed.

Every program runs against the gateway and against the emulator itself, so that a difference is the gateway's.
"""

import asyncio
import json
import os
from collections.abc import Mapping
from typing import Any

import pytest

from tests.clients.environments import ROOT, python_of
from tests.component.dialects.bctrl_world import World, world

OWNER = "key-of-an-owner-12345"
OTHER = "key-of-another-owner-1"
OWNERS = {"owner": {"keys": [OWNER], "own_only": True}, "other": {"keys": [OTHER], "own_only": True}}
FLAT = [("0.1.0", "bctrl"), ("0.1.5", "bctrl"), ("0.3.0", "bctrl.legacy")]


async def run(version: str, program: str, **options: Any) -> Any:
    """Run a program; gives what it printed."""
    process = await asyncio.create_subprocess_exec(
        python_of(f"bctrl-{version}"),
        "-W",
        "error::DeprecationWarning:__main__",
        ROOT / "tests" / "clients" / program,
        json.dumps(options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"]},
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return json.loads(out)


def through(world: World) -> dict[str, str]:
    """Where a program finds the gateway, and the emulator behind it."""
    return {"url": world.dialect.url, "key": world.dialect.key, "control": world.urls["browsers-demo"], "prefix": ""}


def direct(world: World) -> dict[str, str]:
    """Where a program finds an emulator without a gateway."""
    return {"url": world.direct.url, "key": world.direct.key, "control": world.direct.url, "prefix": "flat_"}


def differences(gateway: Mapping[str, Any], emulator: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The steps that ended in another way."""
    assert gateway.keys() == emulator.keys()
    return {name: (gateway[name], emulator[name]) for name in gateway if gateway[name] != emulator[name]}


@pytest.mark.parametrize(("version", "module"), FLAT, ids=str)
async def test_clients_of_the_flat_era_start_list_stop_and_delete_runtimes(version: str, module: str) -> None:
    """``started_browser`` has a usable connection, and every error is the client's own with its fields."""
    async with world() as w:
        ours, theirs = await asyncio.gather(
            run(version, "bctrl_flat_client.py", module=module, **through(w)),
            run(version, "bctrl_flat_client.py", module=module, **direct(w)),
        )
    steps = ours["steps"]
    assert steps["started_browser"]["cdp"] == "cdp"
    assert steps["started_browser"]["inside"] == ["active", "shop", {"team": "shop"}, True]
    assert steps["start"] == [True, False, True, "cdp", "active", True]
    assert steps["iterate"] == ["more-3", "more-2", "more-1", "more-0", "shop-2"]
    assert steps["deleted"] == raised("NotFound", 404, "runtime.not_found")
    assert steps["name is taken"] == raised("Conflict", 409, "browser.name_conflict")
    assert steps["delete while active"] == raised("Conflict", 409, "runtime.not_stopped")
    assert steps["rate limited"] == raised("RateLimit", 429, "rate_limit.exceeded")
    assert steps["unavailable"] == raised("Api", 503, "upstream.unavailable")
    assert steps["wrong key"] == raised("Authentication", 401, "auth.invalid")
    assert differences(steps, theirs["steps"]) == {}
    assert (ours["live"], theirs["live"]) == (4, 0), "today's API launches what it creates"


def raised(name: str, status: int, code: str) -> dict[str, Any]:
    """An error of the clients of the flat era."""
    return {"raised": f"Bctrl{name}Error", "status_code": status, "code": code, "request_id": True}


@pytest.mark.parametrize("client", ["Bctrl", "AsyncBctrl"])
async def test_the_client_of_today_works_as_with_the_provider(client: str) -> None:
    """Creates, keys, pages, waits and error classes, by the synchronous and the asynchronous client."""
    async with world() as w:
        ours, theirs = await asyncio.gather(
            run("0.3.0", "bctrl_current_client.py", client=client, **through(w)),
            run("0.3.0", "bctrl_current_client.py", client=client, **direct(w)),
        )
    steps = ours["steps"]
    ways = ["cdp", "webdriver", "view", "view"]
    assert steps["create"] == ["shop", "sp_demo", "running", "active", ways, False, {"n": 1}, 600]
    assert steps["stop"][2:5] == ["idle", None, []]
    assert steps["the same key is the same browser"] == 1
    assert steps["also without a name"] == [1, True]
    assert steps["deleted"]["raised"] == "NotFoundError"
    assert steps["start answered with 429"]["raised"] == "TooManyRequestsError"
    assert steps["start answered with 429"]["retry_after"] == "7"
    assert steps["start answered with 503"]["raised"] == "ServiceUnavailableError"
    assert steps["create answered with 402"]["raised"] == "PaymentRequiredError"
    assert steps["late ones"] == 1
    assert differences(steps, theirs["steps"]) == {}
    assert ours["live"] == theirs["live"]


@pytest.mark.parametrize(
    ("version", "program", "options"),
    [("0.3.0", "bctrl_current_client.py", {"client": "Bctrl"}), ("0.1.5", "bctrl_flat_client.py", {"module": "bctrl"})],
)
async def test_client_with_the_key_of_an_owner_works_as_with_an_account_of_its_own(
    version: str, program: str, options: dict[str, str]
) -> None:
    """Every step ends as against an emulator that has no other runtimes, although another owner uses the same names."""
    async with world(principals=OWNERS) as w:
        for name in ("shop", "keyed", "shop-2", "more-0", "more-1"):
            taken = await w.dialect.call("POST", "/v1/browsers", {"name": name}, Authorization=f"Bearer {OTHER}")
            assert taken.status == 201
        ours, theirs = await asyncio.gather(
            run(version, program, **options, **{**through(w), "key": OWNER}),
            run(version, program, **options, **direct(w)),
        )
        left = await w.dialect.call("GET", "/v1/browsers", None, Authorization=f"Bearer {OTHER}")
    assert differences(ours["steps"], theirs["steps"]) == {}
    assert len(left.json["data"]) == 5


LOST = [
    {"fault": "status_after", "status": 503},
    {"fault": "drop_after"},
    {"fault": "html", "status": 502},
    {"fault": "half_body"},
]


@pytest.mark.parametrize(("version", "module"), [*FLAT[1:], ("0.3.0", "bctrl")], ids=str)
@pytest.mark.parametrize("keys", ["remembered", "forgotten"])
async def test_what_a_client_sends_again_makes_no_second_runtime(version: str, module: str, keys: str) -> None:
    """A create whose answer is lost is reported as such and not repeated; asked again, it is the same one, also where
    the provider has forgotten the key, and never a second."""
    today = module == "bctrl" and version == "0.3.0"
    async with world(keys=keys) as w:
        for number, lost in enumerate(LOST):
            w.browsers.reset()
            how = {"module": module, "today": today, "fault": lost, "once": f"bill-{number}"}
            told = await run(version, "bctrl_resent.py", **how, **through(w))
            expected = (
                {"raised": "ApiError", "status": 504} if today else {"raised": "BctrlConflictError", "status": 409}
            )
            assert told["first"] == {**expected, "reason": "outcome_unknown"}, lost
            assert (told["sent"], told["made"]) == (1, 1), lost
            assert "id" in told["second"], lost
