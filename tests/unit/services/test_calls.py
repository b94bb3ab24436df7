"""Every provider call: its deadline, its errors, the health of the provider, and the removal of secrets."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import (
    FieldError,
    GatewayError,
    NotFound,
    PermissionDenied,
    ProviderCredentialsRejected,
    ProviderError,
    ProviderFailure,
    ProviderUnavailable,
    RateLimited,
    ValidationFailed,
)
from gateway.domain.values import Operation
from gateway.ports.context import RequestContext
from gateway.ports.redaction import MAX_CODE, MAX_DETAIL, MAX_REQUEST_ID, redacted
from gateway.ports.transport import Phase, TransportFailure
from gateway.services.lifecycle import LifecycleService
from gateway.services.providers import HealthView, ProviderService
from tests.unit.services.fakes import TOKEN, DurableLike, FakeClock, context, fleet_of


async def _health_after(*failures: GatewayError | TransportFailure | None) -> HealthView:
    adapter, clock = DurableLike("one"), FakeClock()
    runtime = adapter.put("agent")
    fleet = fleet_of([adapter], clock)
    adapter.world.fail("get", *failures)
    for _ in failures:
        await clock.sleep(1)
        with contextlib.suppress(GatewayError):
            await LifecycleService(fleet).get(runtime.id, context())
    return ProviderService(fleet).one("one", RequestContext("r")).health


def _told(cls: type[GatewayError], status: int) -> GatewayError:
    return cls("x", failure=ProviderFailure("one", status=status))


async def test_health_is_unknown_before_the_first_call() -> None:
    health = await _health_after()
    assert (health.status, health.credentials_ok) == ("unknown", None)


async def test_health_is_ok_after_a_success() -> None:
    health = await _health_after(None)
    assert (health.status, health.credentials_ok) == ("ok", True)
    assert health.last_success_at == "1970-01-01T00:16:41Z"


@pytest.mark.parametrize(
    ("cls", "status"), [(NotFound, 404), (ValidationFailed, 422), (RateLimited, 429), (PermissionDenied, 403)]
)
async def test_a_client_error_does_not_make_a_provider_failing(cls: type[GatewayError], status: int) -> None:
    assert (await _health_after(_told(cls, status))).status == "ok"
    assert (await _health_after(_told(ProviderError, 500), _told(cls, status))).status == "ok"


async def test_a_provider_is_failing_until_its_next_success() -> None:
    failing = await _health_after(None, TransportFailure("refused", Phase.CONNECTING))
    assert (failing.status, failing.last_failure_code) == ("failing", "provider_unavailable")
    assert (await _health_after(_told(ProviderError, 500), None)).status == "ok"


async def test_rejected_credentials_are_reported_until_they_are_accepted() -> None:
    rejected = _told(ProviderCredentialsRejected, 401)
    assert (await _health_after(None, rejected)).credentials_ok is False
    assert (await _health_after(rejected, None)).credentials_ok is True
    assert (await _health_after(rejected, TransportFailure("refused", Phase.CONNECTING))).credentials_ok is False


async def test_a_transport_failure_becomes_a_gateway_error_with_its_cause() -> None:
    adapter = DurableLike("one")
    runtime = adapter.put("agent")
    failure = TransportFailure("refused", Phase.CONNECTING)
    adapter.world.fail("get", failure)
    with pytest.raises(ProviderUnavailable) as caught:
        await LifecycleService(fleet_of([adapter])).get(runtime.id, context())
    assert caught.value.__cause__ is failure
    assert caught.value.provider == "one"


async def test_a_call_carries_the_deadline_and_ids_of_its_request() -> None:
    adapter = DurableLike("one", deadlines={"get": 3})
    runtime = adapter.put("agent")
    ctx = context()
    ctx.traceparent = "00-0123-45-01"
    await LifecycleService(fleet_of([adapter])).get(runtime.id, ctx)
    (call,) = adapter.world.calls
    assert (call.deadline, call.request_id, call.traceparent) == (1_003.0, "request-1", "00-0123-45-01")
    assert len(ctx.attempts) == 1


async def test_the_token_is_removed_from_all_texts_of_the_provider() -> None:
    adapter = DurableLike("one")
    runtime = adapter.put("agent")
    failure = ProviderFailure("one", status=422, code="c", detail=f"bad token {TOKEN}!", request_id="r")
    fault = FieldError(f"not {TOKEN}", "invalid", pointer="#/x")
    adapter.world.fail("get", ValidationFailed("x", failure=failure, errors=[fault]))
    with pytest.raises(ValidationFailed) as caught:
        await LifecycleService(fleet_of([adapter])).get(runtime.id, context())
    error = caught.value
    assert error.failure == ProviderFailure("one", status=422, code="c", detail="bad token [redacted]!", request_id="r")
    assert error.errors == (FieldError("not [redacted]", "invalid", pointer="#/x"),)


async def test_texts_of_the_provider_that_are_too_long_are_dropped_as_a_whole() -> None:
    """Half a secret at the end of a text that was cut would not be recognised."""
    adapter = DurableLike("one")
    runtime = adapter.put("agent")
    longest = {"code": "c" * MAX_CODE, "detail": "d" * MAX_DETAIL, "request_id": "r" * MAX_REQUEST_ID}
    for extra, expected in (("", longest), ("x", dict.fromkeys(longest))):
        failure = ProviderFailure("one", **{name: text + extra for name, text in longest.items()})  # type: ignore[arg-type]
        adapter.world.fail("get", ValidationFailed("x", failure=failure))
        with pytest.raises(ValidationFailed) as caught:
            await LifecycleService(fleet_of([adapter])).get(runtime.id, context())
        assert caught.value.failure == ProviderFailure("one", **expected)  # type: ignore[arg-type]


def test_a_secret_that_contains_another_is_replaced_completely() -> None:
    assert redacted("hunter2-and-more", ["hunter2", "hunter2-and-more"]) == "[redacted]"


@pytest.mark.parametrize("secret", ["1", "on", "abc"])
def test_a_short_secret_replaces_the_whole_text(secret: str) -> None:
    assert redacted(f"value {secret} is bad", [secret]) == "[redacted]"


def test_empty_secrets_are_ignored() -> None:
    assert redacted("all fine", ["", "absent"]) == "all fine"


@given(st.lists(st.text(min_size=4, max_size=8), max_size=4), st.text(max_size=30), st.data())
def test_no_secret_is_left_in_any_text(secrets: list[str], filler: str, data: st.DataObject) -> None:
    pieces = data.draw(st.lists(st.sampled_from([*secrets, filler, " "]), max_size=6))
    text = redacted("".join(pieces), secrets)
    for secret in secrets:
        assert secret in "[redacted]" or secret not in text.replace("[redacted]", "\0")


def test_a_provider_view_shows_features_and_deadlines() -> None:
    providers = ProviderService(fleet_of([DurableLike("one", order=2, deadlines={"list": 0.5})]))
    view = providers.one("one", RequestContext("r"))
    assert (view.api, view.kinds, view.creates, view.scope, view.order) == ("fake", ["durable"], ["durable"], "home", 2)
    assert {"start", "pause", "reset", "stop", "stop_discards_state", "config"} <= set(view.features)
    assert "delete" not in view.features
    assert set(view.deadlines) == {operation.value for operation in Operation}
    assert view.deadlines["list"] == 0.5


def test_a_provider_that_does_not_exist_is_not_found() -> None:
    with pytest.raises(NotFound):
        ProviderService(fleet_of([DurableLike("one")])).one("two", RequestContext("r"))
