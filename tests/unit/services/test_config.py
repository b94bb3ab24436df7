"""Reading and replacing configs: as a whole, and under a lock."""

import asyncio
from typing import Any

import pytest

from gateway.domain.errors import NotFound, Overloaded, PreconditionFailed, UnsupportedFeature
from gateway.domain.requests import ReplaceConfig
from gateway.domain.runtime import ConfigDocument
from gateway.domain.validation import validate
from gateway.services.config import ConfigService, etag_of
from tests.unit.services.fakes import BrowserLike, DurableLike, context, fleet_of


def _replacement(**config: Any) -> ReplaceConfig:
    return validate(ReplaceConfig, {"config": config})


@pytest.fixture
def adapter() -> DurableLike:
    made = DurableLike("one")
    made.put("agent", provider_id="a1")
    made.put("other", provider_id="b2")
    return made


@pytest.fixture
def service(adapter: DurableLike) -> ConfigService:
    return ConfigService(fleet_of([adapter, BrowserLike("browsers")]))


async def test_the_etag_of_a_config_is_its_quoted_digest(service: ConfigService) -> None:
    document, etag = await service.get("one.a1", context())
    assert (document.config, etag) == ({"version": "v2"}, '"d0"')


def test_the_etag_of_a_config_without_a_digest_is_computed_from_its_content() -> None:
    one = etag_of(ConfigDocument(config={"a": 1, "b": {"c": 2}}))
    assert one == etag_of(ConfigDocument(config={"b": {"c": 2}, "a": 1}))
    assert one != etag_of(ConfigDocument(config={"a": 1, "b": {"c": 3}}))
    assert one.startswith('"sha256-')


async def test_a_replacement_replaces_everything_and_warns_of_unknown_keys(
    service: ConfigService, adapter: DurableLike
) -> None:
    document, etag = await service.replace("one.a1", _replacement(n=1), None, context())
    assert adapter.world.configs["a1"] == {"n": 1}
    assert etag == '"d1"'
    assert isinstance(document.warnings, list)
    assert [warning.pointer for warning in document.warnings] == ["#/config/n"]
    assert adapter.world.asked == ["replace_config"]


@pytest.mark.parametrize("if_match", ['"d0"', '"x", "d0"', ' "d0" ', "*"])
async def test_a_matching_precondition_permits_the_replacement(service: ConfigService, if_match: str) -> None:
    _, etag = await service.replace("one.a1", _replacement(n=1), if_match, context())
    assert etag == '"d1"'


@pytest.mark.parametrize("if_match", ['"d1"', 'W/"d0"', '"x", "y"', "d0"])
async def test_a_precondition_that_does_not_match_changes_nothing(
    service: ConfigService, adapter: DurableLike, if_match: str
) -> None:
    with pytest.raises(PreconditionFailed) as caught:
        await service.replace("one.a1", _replacement(n=1), if_match, context())
    assert [fault.header for fault in caught.value.errors] == ["If-Match"]
    assert adapter.world.asked == ["get_config"]


@pytest.mark.parametrize("second", ["one.a1", "one.A1"])
async def test_of_two_concurrent_replacements_with_the_same_etag_one_succeeds(
    service: ConfigService, adapter: DurableLike, second: str
) -> None:
    """Also if they spell the id differently."""

    async def slow() -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    adapter.world.before["replace_config"] = slow
    adapter.world.before["get_config"] = slow
    outcomes = await asyncio.gather(
        service.replace("one.a1", _replacement(n=1), '"d0"', context()),
        service.replace(second, _replacement(n=2), '"d0"', context()),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes if isinstance(outcome, Exception)] == [PreconditionFailed]
    assert adapter.world.asked.count("replace_config") == 1
    assert adapter.world.configs["a1"] == {"n": 1}


async def test_replacements_at_two_runtimes_do_not_wait_for_each_other(
    service: ConfigService, adapter: DurableLike
) -> None:
    both = asyncio.Barrier(2)

    async def meet() -> None:
        await both.wait()

    adapter.world.before["replace_config"] = meet
    await asyncio.wait_for(
        asyncio.gather(
            service.replace("one.a1", _replacement(n=1), None, context()),
            service.replace("one.b2", _replacement(n=1), None, context()),
        ),
        timeout=5,
    )


async def test_a_replacement_that_waits_too_long_is_refused_with_nothing_sent() -> None:
    adapter = DurableLike("one", deadlines={"replace_config": 0.01})
    adapter.put("agent", provider_id="a1")
    service = ConfigService(fleet_of([adapter]))
    writing, release = asyncio.Event(), asyncio.Event()

    async def held() -> None:
        writing.set()
        await release.wait()

    adapter.world.before["replace_config"] = held
    first = asyncio.create_task(service.replace("one.a1", _replacement(n=1), None, context()))
    await writing.wait()
    with pytest.raises(Overloaded):
        await service.replace("one.a1", _replacement(n=2), None, context())
    release.set()
    await first
    assert adapter.world.asked == ["replace_config"]
    adapter.world.before.clear()
    await service.replace("one.a1", _replacement(n=3), None, context())
    assert adapter.world.configs["a1"] == {"n": 3}


async def test_a_failed_replacement_releases_the_lock(service: ConfigService, adapter: DurableLike) -> None:
    adapter.world.fail("replace_config", NotFound("gone"))
    with pytest.raises(NotFound):
        await service.replace("one.a1", _replacement(n=1), None, context())
    _, etag = await service.replace("one.a1", _replacement(n=2), None, context())
    assert etag == '"d2"'


async def test_a_provider_without_configs_is_refused_without_a_call(service: ConfigService) -> None:
    with pytest.raises(UnsupportedFeature):
        await service.get("browsers.x", context())
    with pytest.raises(UnsupportedFeature):
        await service.replace("browsers.x", _replacement(), None, context())
