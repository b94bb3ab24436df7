"""Stale responses while the provider is down, and errors after which none is used."""

import pytest

from gateway.api.cache.cache import CacheDirectives, Forward, Result
from gateway.domain import errors
from gateway.domain.errors import GatewayError
from tests.unit.api.cache.cached_provider import GET, LIST, NEW, ONE, OTHER, Cache, refused

DOWN = [
    refused(errors.ProviderUnavailable),
    refused(errors.ProviderUnavailable, 503),
    refused(errors.ProviderTimeout),
    refused(errors.ProviderError, 500),
    refused(errors.ProviderBadResponse, 200),
    errors.Overloaded("too many", provider="one"),
    errors.ProviderUnavailable("x", extra={"incomplete": [("one", refused(errors.ProviderError, 500))]}),
]
REFUSED = [
    refused(errors.RateLimited, 429),
    refused(errors.ValidationFailed, 422),
    refused(errors.ProviderBadResponse, 404),
    errors.ProviderUnavailable("x", extra={"incomplete": [("one", refused(errors.RateLimited, 429))]}),
]
GONE = [
    refused(errors.NotFound, 404),
    refused(errors.RuntimeReplaced, 200),
    refused(errors.PermissionDenied, 403),
    refused(errors.ProviderCredentialsRejected, 401),
]


@pytest.mark.parametrize("failure", DOWN, ids=lambda error: f"{error.code} {error.failure and error.failure.status}")
async def test_while_the_provider_is_down_a_stale_response_is_used(failure: GatewayError) -> None:
    cache = Cache()
    first = await cache.read()
    cache.clock.time += 5
    cache.failure = failure
    served = await cache.read()
    assert (served.response, served.result, served.forward) == (first.response, Result.STALE, Forward.STALE)
    assert (served.age, served.ttl, served.error) == (5, -4, failure)
    cache.clock.time += 6
    with pytest.raises(type(failure)):
        await cache.read()


@pytest.mark.parametrize("failure", REFUSED + GONE, ids=lambda error: f"{error.code} {error.failure is None}")
async def test_a_refusal_of_the_provider_is_raised(failure: GatewayError) -> None:
    cache = Cache()
    await cache.read()
    cache.clock.time += 2
    cache.failure = failure
    with pytest.raises(type(failure)):
        await cache.read()


@pytest.mark.parametrize("failure", GONE, ids=lambda error: error.code)
async def test_a_runtime_that_is_gone_is_removed_for_all_principals(failure: GatewayError) -> None:
    cache = Cache()
    bobs = GET._replace(reader=("bob", None, None))
    await cache.read()
    await cache.read(bobs)
    cache.clock.time += 2
    for cache.failure in (failure, refused()):
        with pytest.raises(GatewayError):
            await cache.read()
    with pytest.raises(errors.ProviderUnavailable):
        await cache.read(bobs)


@pytest.mark.parametrize("terms", [NEW, CacheDirectives(max_age=4)])
async def test_a_caller_that_accepts_nothing_stale_gets_the_error(terms: CacheDirectives) -> None:
    cache = Cache()
    await cache.read()
    cache.clock.time += 5
    cache.failure = refused()
    with pytest.raises(errors.ProviderUnavailable):
        await cache.read(terms=terms)


async def test_after_a_write_to_a_runtime_no_stale_response_is_used() -> None:
    cache = Cache()
    for key in (GET, OTHER, LIST):
        await cache.read(key)
    cache.reads.written("one", ONE)
    cache.failure = refused()
    for key in (GET, LIST):
        with pytest.raises(errors.ProviderUnavailable):
            await cache.read(key)


async def test_a_write_to_an_unknown_runtime_keeps_stale_responses_usable() -> None:
    cache = Cache()
    await cache.read()
    cache.reads.written("one")
    cache.failure = refused()
    assert (await cache.read()).result is Result.STALE


async def test_stale_if_error_of_zero_disables_stale_responses() -> None:
    cache = Cache(stale_if_error=0)
    await cache.read()
    cache.clock.time += 1
    cache.failure = refused()
    with pytest.raises(errors.ProviderUnavailable):
        await cache.read()
