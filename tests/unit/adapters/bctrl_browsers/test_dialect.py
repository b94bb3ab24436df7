"""The words of the browser API, of today and of the flat era: what comes in, and errors out."""

import json
from typing import Any

import pytest

from adapters.bctrl_browsers.dialect import BctrlBrowsersDialect
from adapters.bctrl_browsers.dialect.bodies import (
    NATIVE_CODE,
    check_update,
    made_up_name,
    native_create,
    native_member,
    read_object,
    read_query,
    space_named,
    wait_of,
)
from adapters.bctrl_browsers.dialect.errors import FLAT_FORMS, FORMS, HINTS, OURS
from adapters.bctrl_browsers.dialect.flat_bodies import STATUSES, FlatCreate, FlatUpdate, connection, current_body
from adapters.bctrl_browsers.mapping import create_body
from adapters.bctrl_browsers.native import proxy_secrets
from adapters.bctrl_browsers.settings import BctrlBrowsersSettings
from adapters.bctrl_browsers.wire import UNCLEAR, ReasonClass
from gateway.domain import errors
from gateway.domain.errors import FieldError, GatewayError, InvalidRequest, ProviderFailure, ValidationFailed
from gateway.domain.operations import Operation
from gateway.domain.runtime import Runtime
from gateway.domain.values import State
from gateway.ports.dialect import DialectRequest

ALL = list(errors.error_classes())
EACH = pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.code)
PATHS = {"flat": "/v1/runtimes/x", "today": "/v1/browsers/x"}
RESENT = {408, 429}


class NoGateway:
    """Wording needs none."""


DIALECT = BctrlBrowsersDialect(NoGateway())  # type: ignore[arg-type]


def said(error: GatewayError, era: str) -> tuple[int, dict[str, Any]]:
    """The form of an error: the status and the members of the envelope with the message as ``message``."""
    answer = DIALECT.failure(error, PATHS[era], {}, "req-1")
    assert answer.body is not None
    body = json.loads(answer.body)
    assert isinstance(body["error"], str if era == "flat" else dict)
    return answer.status, {**body, "message": body["error"]} if era == "flat" else body["error"]


def request(query: list[tuple[str, str]] | None = None, body: bytes = b"", **headers: str) -> DialectRequest:
    """An inbound request."""
    return DialectRequest("POST", "/v1/browsers", {}, query or [], headers, body)


def test_every_code_of_the_gateway_has_a_form_in_both_eras():
    """A new one cannot be forgotten."""
    assert set(FORMS) == set(FLAT_FORMS) == set(ALL)
    assert set(HINTS) == set(errors.Retryable)
    assert len(ALL) == 33


@EACH
@pytest.mark.parametrize("era", PATHS)
def test_every_error_is_the_eras_envelope(cls: type[GatewayError], era: str):
    """With the members that the clients require, and a next step for a 4xx."""
    status, told = said(cls("A sentence."), era)
    assert 400 <= status < 600
    assert (told["message"], told["requestId"]) == ("A sentence.", "req-1")
    assert told["code"] == (FLAT_FORMS if era == "flat" else FORMS)[cls][1]
    assert told["reasonClass"] in set(ReasonClass)
    assert ("hint" in told) is (status < 500)


VERSIONED = {"BCTRL-Version": "2026-10-03"}


@pytest.mark.parametrize(
    ("path", "headers", "nested", "code"),
    [
        ("/v1/browsers/x", {}, True, "browser.name_conflict"),
        ("/v1/browsers/x", VERSIONED, True, "browser.name_conflict"),
        ("/v1/sandboxes", {}, True, "browser.name_conflict"),
        ("/v1/runtimes/x", {}, False, "runtime.name_conflict"),
        ("/v1/runtimes/x", VERSIONED, True, "runtime.name_conflict"),
        ("/v1/spaces", {}, False, "runtime.name_conflict"),
        ("/v1/spaces", VERSIONED, True, "browser.name_conflict"),
        ("", VERSIONED, True, "browser.name_conflict"),
    ],
)
def test_the_envelope_follows_the_version_and_the_codes_follow_the_path(
    path: str, headers: dict[str, str], nested: bool, code: str
):
    body = json.loads(DIALECT.failure(errors.AlreadyExists("There."), path, headers, "r").body or b"")
    members = body["error"] if nested else body
    assert members["code"] == code
    assert members["message" if nested else "error"] == "There."


@EACH
def test_no_client_of_the_current_era_repeats_an_unclear_failure_of_the_flat_era(cls: type[GatewayError]):
    """The reason is what that client decides by."""
    answer = DIALECT.failure(cls("?"), PATHS["flat"], VERSIONED, "r")
    error = json.loads(answer.body or b"")["error"]
    repeated = (answer.status in RESENT or answer.status >= 500) and error["reasonClass"] not in UNCLEAR
    assert not (repeated and cls in {errors.OutcomeUnknown, errors.InternalError, errors.ProviderBadResponse})


@EACH
def test_nothing_whose_outcome_nobody_knows_is_sent_again_by_a_client(cls: type[GatewayError]):
    """Today's client heeds the reason, the older ones only the status."""
    status, told = said(cls("?"), "today")
    repeated = (status in RESENT or status >= 500) and told["reasonClass"] not in {"unknown", "outcome_unknown"}
    assert not (repeated and cls in {errors.OutcomeUnknown, errors.InternalError, errors.ProviderBadResponse})
    status, told = said(errors.OutcomeUnknown("?"), "flat")
    assert (status, told["reasonClass"]) == (409, "outcome_unknown")


@EACH
@pytest.mark.parametrize("era", PATHS)
def test_what_the_provider_said_passes_verbatim_unless_it_was_said_to_the_gateway(cls: type[GatewayError], era: str):
    """Its status, code and sentence."""
    failure = ProviderFailure("bb", status=418, code="teapot.short", detail="I am a teapot.")
    status, told = said(cls("Ours.", failure=failure), era)
    if cls in OURS:
        assert (told["message"], status) == ("Ours.", (FLAT_FORMS if era == "flat" else FORMS)[cls][0])
    else:
        assert (status, told["code"], told["message"]) == (418, "teapot.short", "I am a teapot.")


def test_a_method_that_a_path_does_not_have_and_a_wait_are_told_in_headers():
    """As HTTP has them."""
    refused = DIALECT.failure(errors.MethodNotAllowed("No.", allowed=["GET"]), PATHS["today"], {}, "r")
    assert refused.headers["Allow"] == "GET"
    limited = DIALECT.failure(errors.RateLimited("No.", retry_after=0.4), PATHS["flat"], {}, "r")
    assert limited.headers["Retry-After"] == "1"


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("60", 60), ("7", 7)])
def test_a_wait_is_a_number_of_seconds(text: str, seconds: int):
    """And none is 0."""
    assert wait_of({"wait": [text]}) == seconds
    assert wait_of({}) == 0


@pytest.mark.parametrize("values", [["61"], ["-1"], ["x"], [""], ["1.5"], ["٣"], ["1", "2"], ["9" * 5000]])
def test_another_wait_is_refused(values: list[str]):
    """Naming the parameter."""
    with pytest.raises(InvalidRequest) as caught:
        wait_of({"wait": values})
    assert caught.value.errors[0].parameter == "wait"


def test_a_wait_leaves_time_for_the_answer():
    """It is never longer than the time limit of the operation allows."""
    options = {"name": "bb", "api": "bctrl_browsers", "base_url": "http://b", "token": "t"}
    settings = BctrlBrowsersSettings.model_validate(options)
    assert settings.longest_wait(Operation.CREATE, 60) == 55
    assert settings.longest_wait(Operation.START, 60) == 60
    short = BctrlBrowsersSettings.model_validate({**options, "deadlines": {"create": 3}})
    assert short.longest_wait(Operation.CREATE, 60) == 0


def test_the_space_is_named_by_the_body_before_the_query_before_the_header():
    """An empty one is none."""
    named = request([("spaceId", "q")], **{"BCTRL-Space": "h"})
    query = read_query(named, "spaceId")
    assert space_named(named, query, {"spaceId": "b"}) == "b"
    assert space_named(named, query, {"spaceId": ""}) == "q"
    assert space_named(named, {}) == "h"
    assert space_named(request(), {}) is None


def test_a_parameter_that_can_only_mean_one_thing_is_there_once():
    for name in ("spaceId", "cursor", "wait"):
        with pytest.raises(InvalidRequest):
            read_query(request([(name, "a"), (name, "b")]), name)
    assert read_query(request([("status", "active"), ("status", "failed")]), "status") == {
        "status": ["active", "failed"]
    }


def test_a_body_is_a_json_object_or_nothing():
    """In UTF-8."""
    assert read_object(request(body=b" ")) == {}
    for raw in (b"{", b"\xff", b"[" * 100_000):
        with pytest.raises(InvalidRequest) as caught:
            read_object(request(body=raw))
        assert caught.value.extra[NATIVE_CODE] == "request.invalid_json"
    with pytest.raises(ValidationFailed):
        read_object(request(body=b"[]"))


def test_a_create_goes_out_as_it_came_in():
    """Every member, the proxy with its password, which is nowhere to be seen."""
    body = {
        "name": "My shop",
        "spaceId": "sp_1",
        "metadata": {"deep": [1, None]},
        "viewport": {"width": 800, "height": 600},
        "proxy": {"host": "h", "port": 1, "protocol": "http", "password": "hunter2"},
        "captcha": {"autoSolve": True},
    }
    create = native_create(body, wait=3, made_up_name="unused")
    assert json.loads(create_body(create, "sp_1")) == body
    assert "hunter2" not in repr(create)
    assert list(create.secret_values()) == ["hunter2"]


def test_a_proxy_that_is_null_is_sent_and_one_that_is_absent_is_not():
    """They mean different things."""
    assert json.loads(create_body(native_create({"proxy": None}, wait=0, made_up_name="n"), "s"))["proxy"] is None
    assert "proxy" not in json.loads(create_body(native_create({}, wait=0, made_up_name="n"), "s"))


@pytest.mark.parametrize(
    ("proxy", "secrets"),
    [
        ("http://u:p%40ss@h:1", ["p%40ss", "p@ss"]),
        ("http://u@h:1", []),
        ({"url": "socks5://u:one@h:1", "password": "two"}, ["two", "one", "one"]),
        ({"id": "px"}, []),
        (None, []),
    ],
)
def test_the_passwords_of_a_proxy_are_known(proxy: Any, secrets: list[str]):
    """In whichever form it has."""
    assert list(proxy_secrets(proxy)) == secrets


@pytest.mark.parametrize(
    ("body", "member"),
    [
        ({"color": "red"}, "color"),
        ({"name": ""}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"spaceId": 5}, "spaceId"),
        ({"headless": "yes"}, "headless"),
        ({"viewport": {"width": 1}}, "viewport.height"),
        ({"proxy": {"port": 1}}, "proxy"),
        ({"proxy": {"host": "h", "port": 0, "protocol": "http", "password": "hunter2"}}, "proxy.port"),
        ({"proxy": {"host": "h", "port": 1, "protocol": "http", "password": 5}}, "proxy.password"),
        ({"proxy": {"id": "px", "password": "hunter2"}}, "proxy.password"),
    ],
)
def test_a_create_that_cannot_be_is_refused_by_its_member(body: dict[str, Any], member: str):
    """Without its value."""
    with pytest.raises(ValidationFailed) as caught:
        native_create(body, wait=0, made_up_name="n")
    assert native_member(caught.value.errors[0]) == member
    assert "hunter2" not in str(caught.value)


def test_an_update_takes_what_a_create_takes_but_for_the_space_and_the_copy():
    """Those are decided once."""
    check_update({"name": "n", "headless": True, "proxy": "http://u:p@h:1"})
    for body in ({"spaceId": "s"}, {"persona": "same"}, {"fromBrowser": "b", "persona": "new"}):
        with pytest.raises(ValidationFailed):
            check_update(body)


def test_a_name_is_made_of_the_key_where_there_is_one():
    """So that the request is the same when it is sent again."""
    assert made_up_name("browser", "k") == made_up_name("browser", "k") != made_up_name("browser", "l")
    assert made_up_name("browser", None) != made_up_name("browser", None)


def test_every_state_has_a_status_in_the_flat_era():
    """Also one that is added later."""
    assert set(STATUSES) == set(State)
    assert set(STATUSES.values()) == {"active", "stopped", "failed"}


def test_the_flat_body_is_checked_before_it_is_mapped():
    """Types are strict, null metadata is none."""
    assert current_body({"type": "browser", "metadata": None}, FlatCreate) == {}
    assert current_body({"config": {"extensionIds": ["e"]}, "profile": True}, FlatUpdate) == {"extensions": ["e"]}
    for body in ({"config": []}, {"metadata": []}, {"config": {"headless": 1}}, {"start": True}):
        with pytest.raises(ValidationFailed):
            current_body(body, FlatUpdate)


@pytest.mark.parametrize(
    ("state", "run"),
    [
        (State.STARTING, {"connections": {"cdpUrl": "wss://c"}}),
        (State.RUNNING, {"connections": {"cdpUrl": ""}}),
        (State.RUNNING, {"connections": None}),
        (State.RUNNING, None),
        (State.IDLE, None),
    ],
)
def test_there_is_a_connection_only_while_a_run_is_active_and_has_one(state: State, run: Any):
    """A client takes its presence for readiness."""
    runtime = Runtime(id="bb.br_1", kind="browser", provider="bb", scope="s", provider_id="br_1", state=state)
    assert connection({"currentRun": run}, runtime) is None


def test_a_connection_without_webdriver_has_no_empty_member_for_it():
    """The older client takes any other value than a text for a fault."""
    runtime = Runtime(id="bb.br_1", kind="browser", provider="bb", scope="s", provider_id="br_1", state=State.RUNNING)
    ways = connection({"currentRun": {"id": "run_1", "connections": {"cdpUrl": "wss://c"}}}, runtime)
    assert ways == {"runId": "run_1", "protocol": "cdp", "connectUrl": "wss://c", "cdpUrl": "wss://c"}


def test_a_fault_of_an_option_is_told_as_the_member_it_came_from():
    """The unified API calls it a provider option."""
    assert native_member(FieldError("d", "c", pointer="#/provider_options/fromBrowser")) == "fromBrowser"
    assert native_member(FieldError("d", "c", header="BCTRL-Version")) == "BCTRL-Version"
