"""What a plan says about browsers, read from real emulators."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from gateway.domain.requests import StartRequest
from gateway.domain.runtime import Runtime
from gateway.domain.values import CreateFeature
from gateway.services.moves.planned import PlannedItem
from gateway.services.moves.reading import SourceFacts
from tests.component.moves.ends import CTX, Ends, two_ends

PROFILE = "5f1d7f4e-1f8e-4c39-8f69-0d8ad3ce2b11"
PROXY: dict[str, Any] = {"type": "socks5", "host": "proxy.example", "port": 1080}
DRIVERS = ("playwright", "puppeteer", "selenium", "stagehand")


@pytest.fixture
async def eras() -> AsyncIterator[Ends]:
    """From the workspaces API to the browser API."""
    async with two_ends("bctrl", "bctrl_browsers") as ends:
        yield ends


@pytest.fixture
async def browsers() -> AsyncIterator[Ends]:
    """From one account at the browser API to another one."""
    async with two_ends("bctrl_browsers", "bctrl_browsers") as ends:
        yield ends


async def unsent(ends: Ends, **fields: Any) -> Runtime:
    """A browser that was not made through the gateway, so that nothing of its create is kept."""
    made = await ends.make(**fields)
    ends.specs.forget(ends.old, ends.old.reference(made))
    return made


@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_browser_keeps_its_name_and_its_driver(eras: Ends, driver: str) -> None:
    made = await eras.make(name="bot", driver=driver, launch={"mode": "ephemeral", "solve_captchas": True})
    planned = await eras.describe(made)
    assert planned.blocked_by == []
    assert (planned.create["name"], planned.create["driver"]) == ("bot", driver)
    assert planned.create["launch"] == {"mode": "ephemeral", "solve_captchas": True}
    assert planned.starts
    assert planned.unknown == []
    assert {rule.topic for rule in planned.semantics} == {"lifetime", "stop", "restart", "persistence"}


async def test_fields_without_an_equivalent_are_lost(eras: Ends) -> None:
    launch = {"mode": "ephemeral", "humanize": True, "humanize_persona_id": 7, "extension_ids": ["ext_1"]}
    made = await eras.make(name="bot", launch=launch)
    planned = await eras.describe(made, mappings={"extension_ids": {"ext_1": "ext_9"}})
    assert [(loss.what, CreateFeature.HUMANIZE in loss.why) for loss in planned.lost if loss.what.startswith("#")] == [
        ("#/launch/humanize", True),
        ("#/launch/humanize_persona_id", True),
    ]
    assert planned.create["launch"] == {"mode": "ephemeral", "extension_ids": ["ext_9"]}
    assert planned.unknown == ["whether new in sp_two has extension_ids: ext_9"]
    assert planned.blocked_by == []


async def test_what_no_read_returns_is_unknown_and_not_none(eras: Ends) -> None:
    made = await unsent(eras, name="bot", launch={"mode": "ephemeral", "proxy": PROXY, "humanize": True})
    planned = await eras.describe(made)
    assert planned.unknown == [
        "#/launch/extension_ids",
        "#/launch/humanize",
        "#/launch/humanize_persona_id",
        "#/launch/solve_captchas",
        "#/launch/proxy",
    ]
    assert planned.create["launch"] == {"mode": "ephemeral"}


async def test_a_profile_is_mapped_to_a_browser_to_start_from(eras: Ends) -> None:
    saved = await eras.make(at=eras.new, name="saved")
    made = await eras.make(name="bot", launch={"mode": "profile", "profile_id": PROFILE})
    unmapped = await eras.describe(made)
    assert [(each.code, each.pointer) for each in unmapped.blocked_by] == [
        ("mapping_required", f"#/mappings/profile_ids/{PROFILE}")
    ]
    assert "logins" in {loss.what for loss in unmapped.lost}
    assert "provider_options" not in unmapped.create
    planned = await eras.describe(made, mappings={"profile_ids": {PROFILE: saved.provider_id}})
    assert planned.blocked_by == []
    assert planned.create["launch"] == {"mode": "ephemeral"}
    assert planned.create["provider_options"] == {"fromBrowser": saved.provider_id, "persona": "same"}
    assert "logins" not in {loss.what for loss in planned.lost}


async def test_a_profile_that_is_mapped_to_nothing_is_left_behind_with_its_logins(eras: Ends) -> None:
    made = await eras.make(name="bot", launch={"mode": "profile", "profile_id": PROFILE})
    planned = await eras.describe(made, mappings={"profile_ids": {PROFILE: ""}})
    assert planned.blocked_by == []
    assert planned.create["launch"] == {"mode": "ephemeral"}
    assert "logins" in {loss.what for loss in planned.lost}


async def test_a_profile_is_carried_within_one_account() -> None:
    async with two_ends("bctrl", "bctrl", same_account=True) as ends:
        made = await ends.make(name="bot", launch={"mode": "profile", "profile_id": PROFILE})
        planned = await ends.describe(made)
        assert planned.blocked_by == []
        assert planned.create["launch"] == {"mode": "profile", "profile_id": PROFILE}
        assert "logins" not in {loss.what for loss in planned.lost}


async def test_an_ended_browser_is_not_moved(eras: Ends) -> None:
    made = await eras.make(name="bot")
    await eras.old.stop(eras.old.reference(made), eras.call())  # type: ignore[attr-defined]
    planned = await eras.describe(made)
    assert [each.code for each in planned.blocked_by] == ["ended"]


async def test_a_kind_that_no_create_makes_is_blocked(eras: Ends) -> None:
    made = await eras.make(name="bot")
    desktop = msgspec.structs.replace(made, kind="desktop")
    planned = await eras.describer.describe(eras.between(), SourceFacts(desktop), CTX)
    assert [(each.code, each.pointer) for each in planned.blocked_by] == [("unsupported", "#/kind")]


async def test_the_password_of_a_proxy_is_known_from_the_kept_create_only(browsers: Ends) -> None:
    launch = {"mode": "ephemeral", "proxy": {**PROXY, "username": "u", "password": "hunter2-proxy"}}
    made = await browsers.make(name="bot", launch=launch)
    facts = await browsers.describer.read(browsers.between(), browsers.old.reference(made), CTX)
    without = await browsers.describer.describe(browsers.between(), facts, CTX)
    assert [(each.code, each.pointer) for each in without.blocked_by] == [("required", "#/launch/proxy/password")]
    assert "#/launch/proxy/password" in without.unknown
    patch = {"launch": {"proxy": {"password": "hunter3-proxy"}}}
    override = {"match": {"provider": "old", "name": "bot"}, "patch": patch}
    patched = await browsers.describer.describe(browsers.between(overrides=[override]), facts, CTX)
    assert patched.blocked_by == []
    assert patched.create["launch"]["proxy"]["password"] == "hunter3-proxy"
    assert "hunter3" not in repr(patched.changes)
    kept = SourceFacts(facts.runtime, sent=facts.sent, kept={"kind": "browser", "name": "bot", "launch": launch})
    known = await browsers.describer.describe(browsers.between(), kept, CTX)
    assert known.blocked_by == []
    assert known.create["launch"]["proxy"] == launch["proxy"]


async def test_a_browser_carries_its_labels_and_the_options_that_its_provider_shows(browsers: Ends) -> None:
    options = {"location": "us-east", "timeoutSeconds": 900, "viewport": {"width": 800, "height": 600}}
    made = await browsers.make(name="bot", labels={"team": "shop"}, driver="selenium", provider_options=options)
    planned = await browsers.describe(made)
    assert planned.blocked_by == []
    assert planned.changes == []
    assert (planned.create["labels"], planned.create["driver"]) == ({"team": "shop"}, "selenium")
    assert options.items() <= planned.create["provider_options"].items()
    again = await browsers.make(
        at=browsers.new, **{k: v for k, v in planned.create.items() if k not in {"kind", "provider"}}
    )
    assert again.labels == {"team": "shop"}
    assert options.items() <= again.provider_data.items()


async def test_metadata_that_is_no_label_is_carried_too(browsers: Ends) -> None:
    made = await browsers.make(name="bot", provider_options={"metadata": {"team": "shop", "rank": 1}})
    planned = await browsers.describe(made)
    assert planned.blocked_by == []
    assert planned.create["provider_options"]["metadata"] == {"team": "shop", "rank": 1}
    assert "labels" not in planned.create


async def test_the_driver_of_a_browser_that_was_not_made_here_is_unknown(browsers: Ends) -> None:
    made = await unsent(browsers, name="bot", driver="selenium")
    planned = await browsers.describe(made)
    assert planned.unknown == ["#/driver"]


async def test_a_running_browser_whose_stop_is_final_moves_only_while_it_runs(eras: Ends) -> None:
    made = await eras.make(name="bot")
    planned = await eras.describe(made)
    assert planned.double_run == "Never moves as planned: when it is idle, it has ended for good. Plan with when: now."


@pytest.mark.parametrize(("after", "lost"), [("stop", True), ("keep", False)])
async def test_a_source_that_a_stop_ends_for_good_is_lost(eras: Ends, after: str, lost: bool) -> None:
    made = await eras.make(name="bot")
    planned = await eras.describe(made, when="now", source_after=after)
    assert ("source" in {loss.what for loss in planned.lost}) is lost


async def test_an_idle_browser_is_launched_by_its_create_and_stopped_again(browsers: Ends) -> None:
    made = await browsers.make(name="bot")
    await browsers.old.stop(browsers.old.reference(made), browsers.call())  # type: ignore[attr-defined]
    planned = await browsers.describe(made)
    assert planned.blocked_by == []
    assert not planned.starts
    assert planned.double_run == "The create launches it at the target, where it is stopped again."
    assert {loss.what for loss in planned.lost} == {"logins", "recordings"}


async def test_an_idle_browser_cannot_go_where_a_stop_ends_it_for_good() -> None:
    async with two_ends("bctrl_browsers", "bctrl") as ends:
        made = await ends.make(name="bot")
        await ends.old.stop(ends.old.reference(made), ends.call())  # type: ignore[attr-defined]
        planned = await ends.describe(made)
        assert [(each.code, each.pointer) for each in planned.blocked_by] == [("unsupported", "#/start")]


@pytest.fixture
async def spaces() -> AsyncIterator[Ends]:
    """From one space to another one of the same account."""
    async with two_ends("bctrl_browsers", "bctrl_browsers", same_account=True) as ends:
        yield ends


def logins(planned: PlannedItem) -> list[str]:
    """Why logins are lost."""
    return [loss.why for loss in planned.lost if loss.what == "logins"]


async def ended(ends: Ends, runtime: Runtime) -> Runtime:
    """The browser after its run was stopped."""
    adapter: Any = ends.old
    await adapter.stop(adapter.reference(runtime), ends.call())
    return runtime


async def test_the_state_of_a_browser_is_carried_within_its_account(spaces: Ends) -> None:
    made = await ended(spaces, await spaces.make(name="bot"))
    planned = await spaces.describe(made)
    assert "state" in planned.carries
    assert logins(planned) == []
    assert planned.create["provider_options"]["fromBrowser"] == made.provider_id
    create = {name: value for name, value in planned.create.items() if name not in {"kind", "provider"}}
    copy = await spaces.make(at=spaces.new, **create)
    assert copy.provider_data["copiedFrom"]["browserId"] == made.provider_id


async def test_the_state_of_a_browser_that_runs_is_carried_when_its_run_has_ended(spaces: Ends) -> None:
    """With ``now``, what the run has not saved is lost; an earlier state is carried all the same."""
    made = await spaces.make(name="bot")
    assert "state" in (await spaces.describe(made)).carries
    now = await spaces.describe(made, when="now")
    assert "state" not in now.carries
    assert len(logins(now)) == 1
    assert "fromBrowser" not in now.create.get("provider_options", {})
    adapter: Any = spaces.old
    await adapter.start(adapter.reference(await ended(spaces, made)), StartRequest(), spaces.call())
    again = await spaces.describe(made, when="now")
    assert "state" not in again.carries
    assert len(logins(again)) == 1
    assert again.create["provider_options"]["fromBrowser"] == made.provider_id


async def test_the_state_of_a_browser_is_lost_in_another_account(browsers: Ends) -> None:
    made = await ended(browsers, await browsers.make(name="bot"))
    planned = await browsers.describe(made)
    assert "state" not in planned.carries
    assert len(logins(planned)) == 1
    assert "fromBrowser" not in planned.create.get("provider_options", {})
