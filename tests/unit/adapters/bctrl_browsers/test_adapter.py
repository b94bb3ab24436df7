import msgspec
import pytest

from gateway.domain.errors import (
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    ProviderBadResponse,
    ProviderCredentialsRejected,
    ProviderUnavailable,
    RuntimeReplaced,
    UnsupportedFeature,
    ValidationFailed,
)
from gateway.domain.ids import RuntimeRef, b64url
from gateway.domain.pages import ListFilter, ProviderQuery
from gateway.domain.requests import CreateDurable, StartRequest
from gateway.domain.validation import validate
from gateway.domain.values import Operation, State
from gateway.ports.transport import Phase, TransportFailure
from tests.unit.adapters.bctrl_browsers.fakes import ID, SPACE, TOKEN, adapter, create, row, running, settings
from tests.unit.adapters.fakes import CALL, answer

REF = RuntimeRef(SPACE, ID)
OTHER = row(id="br_another", name=ID)


def _page(*rows: dict, cursor: str | None = None) -> object:
    return answer(200, {"data": list(rows), "hasMore": cursor is not None, "nextCursor": cursor})


async def test_create_has_space_wait_and_key():
    browsers, transport = adapter(answer(201, running()))
    created = await browsers.create(create(), SPACE, CALL, idempotency_key="k-1")
    (sent,) = transport.sent
    assert (sent.operation, sent.method, sent.path, sent.query) == (
        Operation.CREATE,
        "POST",
        "/v1/browsers",
        (("wait", "15"),),
    )
    assert sent.headers == {"Authorization": f"Bearer {TOKEN}", "BCTRL-Version": "2026-10-03", "Idempotency-Key": "k-1"}
    assert msgspec.json.decode(sent.body or b"") == {"name": "checkout-bot", "spaceId": SPACE}
    assert created.created
    assert created.runtime.state is State.RUNNING


async def test_create_without_key_and_wait_sends_neither():
    browsers, transport = adapter(answer(200, row()), wait_seconds=0)
    await browsers.create(create(), SPACE, CALL)
    assert "Idempotency-Key" not in transport.sent[0].headers
    assert transport.sent[0].query == ()


async def test_unsupported_create_is_refused_before_anything_is_sent():
    browsers, transport = adapter()
    durable = validate(CreateDurable, {"kind": "durable", "name": "d"})
    for request, error in ((durable, UnsupportedFeature), (create(provider_options={"x": 1}), ValidationFailed)):
        with pytest.raises(error):
            browsers.check_create(request)
        with pytest.raises(error):
            await browsers.create(request, SPACE, CALL)
    assert not transport.sent


@pytest.mark.parametrize(
    ("base_url", "path"),
    [("http://b.test", "/v1/browsers"), ("http://b.test/v1/", "/browsers"), ("http://v1", "/v1/browsers")],
)
async def test_base_url_may_end_in_v1_or_not(base_url, path):
    browsers, transport = adapter(_page(), base_url=base_url)
    await browsers.check_credentials(CALL)
    assert transport.sent[0].path == path


async def test_every_operation_on_a_browser_sends_its_space():
    browsers, transport = adapter(
        answer(200, row()), answer(200, running()), answer(200, row()), answer(200, {"id": ID, "deleted": True})
    )
    await browsers.get(REF, CALL)
    await browsers.start(REF, StartRequest(), CALL)
    await browsers.stop(REF, CALL)
    await browsers.delete(REF, CALL)
    assert [(sent.method, sent.path, sent.query, sent.body) for sent in transport.sent] == [
        ("GET", f"/v1/browsers/{ID}", [("spaceId", SPACE)], None),
        ("POST", f"/v1/browsers/{ID}/start", [("spaceId", SPACE), ("wait", "15")], b"{}"),
        ("POST", f"/v1/browsers/{ID}/stop", [("spaceId", SPACE), ("wait", "15")], b"{}"),
        ("DELETE", f"/v1/browsers/{ID}", [("spaceId", SPACE)], None),
    ]


async def test_stop_erases_the_state_only_with_discard_state():
    browsers, transport = adapter(answer(200, row()))
    await browsers.stop(REF, CALL, discard_state=True)
    assert transport.sent[0].body == b'{"discardState":true}'


async def test_id_of_any_form_is_encoded_as_one_path_segment():
    browsers, transport = adapter(answer(200, row(id="a b/ü")))
    await browsers.get(RuntimeRef(SPACE, "a b/ü"), CALL)
    assert transport.sent[0].path == "/v1/browsers/a%20b%2F%C3%BC"


@pytest.mark.parametrize(
    ("options", "pointer"),
    [({"secret_ids": []}, "#/secret_ids"), ({"runtime_limit_seconds": 60}, "#/runtime_limit_seconds")],
)
async def test_start_option_without_an_equivalent_is_refused(options, pointer):
    browsers, transport = adapter()
    with pytest.raises(UnsupportedFeature) as caught:
        await browsers.start(REF, StartRequest.model_validate(options), CALL)
    assert [error.pointer for error in caught.value.errors] == [pointer]
    assert not transport.sent


async def test_read_that_returns_another_id_is_not_found():
    browsers, _ = adapter(answer(200, OTHER), answer(200, OTHER))
    with pytest.raises(NotFound):
        await browsers.get(REF, CALL)
    with pytest.raises(NotFound):
        await browsers.connections(REF, CALL)


async def test_verb_that_reached_another_browser_raises_runtime_replaced():
    browsers, _ = adapter(answer(200, OTHER), answer(200, OTHER), answer(200, {"id": "br_another", "deleted": True}))
    with pytest.raises(RuntimeReplaced, match="got the start instead"):
        await browsers.start(REF, StartRequest(), CALL)
    with pytest.raises(RuntimeReplaced, match="got the stop instead"):
        await browsers.stop(REF, CALL)
    with pytest.raises(RuntimeReplaced, match="got the delete instead"):
        await browsers.delete(REF, CALL)


@pytest.mark.parametrize("body", [b"", b"<html>", {"id": ID}, {"id": ID, "deleted": False}])
async def test_delete_without_confirmation_has_an_unknown_outcome(body):
    browsers, _ = adapter(answer(200, body))
    with pytest.raises(OutcomeUnknown):
        await browsers.delete(REF, CALL)


async def test_lost_read_of_connections_is_not_an_unknown_outcome():
    browsers, transport = adapter(TransportFailure("timeout", Phase.SENT, operation=Operation.CONNECT))
    with pytest.raises(TransportFailure) as caught:
        await browsers.connections(REF, CALL)
    assert caught.value.operation is Operation.GET
    assert transport.sent[0].operation is Operation.CONNECT


async def test_list_is_in_order_of_creation_and_filtered_by_the_provider_if_possible():
    browsers, transport = adapter(_page(running(), cursor="next"))
    wanted = ListFilter(name="checkout-bot", states=frozenset({State.RUNNING, State.FAILED}))
    page = await browsers.list(ProviderQuery(scope=SPACE, filter=wanted, limit=7, cursor="c"), CALL)
    assert transport.sent[0].query == [
        ("spaceId", SPACE),
        ("order", "asc"),
        ("limit", "7"),
        ("name", "checkout-bot"),
        ("status", "running"),
        ("cursor", "c"),
    ]
    assert ([runtime.provider_id for runtime in page.items], page.next_cursor) == ([ID], "next")


@pytest.mark.parametrize("states", [{State.IDLE}, {State.UNKNOWN, State.RUNNING}, {State.IDLE, State.RUNNING}])
async def test_states_that_the_provider_cannot_filter_are_filtered_by_the_adapter(states):
    """A browser with the status running may have no active run, and is then idle."""
    browsers, transport = adapter(_page(row(), running("ended"), running(), row(status="odd")))
    page = await browsers.list(ProviderQuery(scope=SPACE, filter=ListFilter(states=frozenset(states))), CALL)
    assert "status" not in dict(transport.sent[0].query)
    assert {runtime.state for runtime in page.items} == states


@pytest.mark.parametrize(
    "wanted",
    [ListFilter(kinds=frozenset({"durable"})), ListFilter(states=frozenset({State.STOPPED})), ListFilter(project="p")],
)
async def test_filter_that_nothing_can_match_sends_no_request(wanted):
    browsers, transport = adapter()
    page = await browsers.list(ProviderQuery(scope=SPACE, filter=wanted), CALL)
    assert (page.items, page.next_cursor, transport.sent) == ([], None, [])


async def test_list_that_repeats_its_cursor_is_a_bad_response():
    browsers, _ = adapter(_page(row(), cursor="c"))
    with pytest.raises(ProviderBadResponse, match="repeats the cursor"):
        await browsers.list(ProviderQuery(scope=SPACE, cursor="c"), CALL)


async def test_cursor_that_the_provider_refuses_is_an_invalid_request():
    error = {"code": "pagination.cursor_invalid", "message": "no", "reasonClass": "invalid_input", "requestId": "r"}
    browsers, _ = adapter(answer(400, {"error": error}))
    with pytest.raises(InvalidRequest):
        await browsers.list(ProviderQuery(scope=SPACE, cursor="mangled"), CALL)


async def test_find_by_the_name_of_an_owned_browser_sends_and_matches_that_name():
    owned = "checkout-bot.rgw-abcdefghijk"
    browsers, transport = adapter(_page(row(id="br_unowned"), row(id="br_owned", name=owned)))
    found = await browsers.find(SPACE, owned, CALL)
    assert [runtime.provider_id for runtime in found] == ["br_owned"]
    assert dict(transport.sent[0].query)["name"] == owned


async def test_find_reads_all_pages_and_returns_equal_names_live_first():
    old, new = row(id="br_old", createdAt="1"), row(id="br_new", createdAt="3")
    failed = {**running("failed"), "id": "br_failed"}
    browsers, transport = adapter(
        _page(old, row(id="br_longer", name="checkout-bot-2"), cursor="2"), _page(new, cursor="3"), _page(failed)
    )
    found = await browsers.find(SPACE, "checkout-bot", CALL)
    assert [runtime.provider_id for runtime in found] == ["br_new", "br_old", "br_failed"]
    assert {dict(sent.query)["name"] for sent in transport.sent} == {"checkout-bot"}


async def test_look_up_in_an_endless_list_does_not_prove_absence():
    browsers, _ = adapter(*[_page(cursor=str(number)) for number in range(20)])
    with pytest.raises(ProviderBadResponse, match="did not end"):
        await browsers.find(SPACE, "checkout-bot", CALL)


async def test_look_up_in_an_endless_list_fails_even_with_a_match():
    browsers, _ = adapter(_page(row(), cursor="first"), *[_page(cursor=str(number)) for number in range(19)])
    with pytest.raises(ProviderBadResponse, match="did not end"):
        await browsers.find_with_markers(SPACE, "checkout-bot", CALL)


async def test_browser_on_two_pages_is_returned_once():
    browsers, _ = adapter(_page(row(), cursor="2"), _page(row(updatedAt="2026-10-04T10:01:00Z")))
    (seen,) = await browsers.find_with_markers(SPACE, "checkout-bot", CALL)
    assert seen.runtime.updated_at == "2026-10-04T10:01:00Z"


WHOAMI = {"object": "identity", "organizationId": "org_1", "defaultSpaceId": "sp_1", "subaccountId": "sub_1"}
REFUSED = {"error": {"code": "auth.forbidden", "message": "no", "reasonClass": "capability_denied", "requestId": "r"}}


async def test_account_is_the_organization():
    browsers, transport = adapter(answer(200, WHOAMI))
    assert await browsers.account(CALL) == "org_1"
    (sent,) = transport.sent
    assert (sent.method, sent.path, sent.operation) == ("GET", "/v1/auth/whoami", Operation.GET)


async def test_default_space_and_its_id_have_one_canonical_scope():
    browsers, transport = adapter(answer(200, WHOAMI))
    assert await browsers.canonical_scope("default", CALL) == await browsers.canonical_scope("sp_1", CALL) == "sp_1"
    assert len(transport.sent) == 1


@pytest.mark.parametrize("status", [403, 404])
async def test_alias_stays_if_the_api_refuses_whoami(status):
    browsers, _ = adapter(answer(status, REFUSED), answer(status, REFUSED), answer(200, {"organizationId": "org_1"}))
    assert await browsers.account(CALL) == ""
    assert await browsers.canonical_scope("default", CALL) == "default"
    assert await browsers.canonical_scope("default", CALL) == "default"


@pytest.mark.parametrize(
    ("answered", "error"),
    [
        (answer(404, b"<html>"), ProviderBadResponse),
        (answer(200, {"object": "identity"}), ProviderBadResponse),
        (answer(503, b""), ProviderUnavailable),
        (answer(401, REFUSED), ProviderCredentialsRejected),
    ],
)
async def test_unreadable_whoami_raises_an_error(answered, error):
    """If it counted as an empty account, creates would move to another namespace."""
    browsers, _ = adapter(answered, answered)
    with pytest.raises(error):
        await browsers.account(CALL)
    with pytest.raises(error):
        await browsers.canonical_scope("default", CALL)


async def test_response_with_a_browser_of_another_id_and_name_belongs_to_another_request():
    other = answer(200, row(id="br_another", name="another"))
    browsers, _ = adapter(other, other, other)
    with pytest.raises(ProviderBadResponse):
        await browsers.get(REF, CALL)
    with pytest.raises(ProviderBadResponse):
        await browsers.connections(REF, CALL)
    with pytest.raises(OutcomeUnknown):
        await browsers.start(REF, StartRequest(), CALL)


@pytest.mark.parametrize(
    ("operation", "method", "below", "body"),
    [
        (Operation.GET, "GET", "/check%20out", None),
        (Operation.START, "POST", f"/{ID}/start", b"{}"),
        (Operation.REPLACE_CONFIG, "PATCH", f"/{ID}", b'{"name":"renamed"}'),
    ],
)
async def test_forwarded_call_rejects_a_browser_of_another_id_and_name(operation, method, below, body):
    error = ProviderBadResponse if method == "GET" else OutcomeUnknown
    browsers, _ = adapter(answer(200, row(id="br_another", name="another")))
    with pytest.raises(error):
        await browsers.native(operation, SPACE, CALL, method=method, below=below, body=body)


@pytest.mark.parametrize(
    ("below", "body"), [("/Check%20Out", None), (f"/{ID}", b'{"name":"x"}'), ("/old", b'{"name":"check out"}')]
)
async def test_forwarded_call_accepts_the_browser_by_id_by_name_and_by_its_new_name(below, body):
    operation = Operation.GET if body is None else Operation.REPLACE_CONFIG
    browsers, _ = adapter(answer(200, row(name="check out")))
    assert (await browsers.native(operation, SPACE, CALL, below=below, body=body)).runtimes[0].provider_id == ID


async def test_browser_of_another_space_is_not_found():
    """A pinned scope also holds if the provider ignores the space when it is given an id."""
    elsewhere = row(spaceId="sp_other")
    browsers, _ = adapter(answer(200, elsewhere), answer(200, elsewhere), _page(elsewhere, row()))
    ref = RuntimeRef(SPACE, ID)
    with pytest.raises(NotFound):
        await browsers.get(ref, CALL)
    with pytest.raises(NotFound):
        await browsers.native(Operation.GET, SPACE, CALL, below=f"/{ID}")
    assert len((await browsers.list(ProviderQuery(scope=SPACE, limit=5), CALL)).items) == 1


async def test_default_space_is_a_valid_scope():
    browsers, _ = adapter(answer(200, row(spaceId="sp_real")), scope="default")
    assert (await browsers.get(RuntimeRef("default", ID), CALL)).provider_data["spaceId"] == "sp_real"


async def test_open_provider_checks_credentials_in_the_default_space():
    browsers, transport = adapter(_page(), scope=None)
    await browsers.check_credentials(CALL)
    assert dict(transport.sent[0].query)["spaceId"] == "default"


def test_reference_at_an_open_provider_contains_the_space():
    browsers, _ = adapter(scope=None)
    assert browsers.parse_reference(f"{b64url('sp_9')}~{ID}") == RuntimeRef("sp_9", ID)
    for reference in (ID, f"{b64url('a/b')}~{ID}", f"~{ID}", f"{b64url('sp_9')}~my-bot", f"{b64url('sp_9')}"):
        with pytest.raises(NotFound):
            browsers.parse_reference(reference)


@pytest.mark.parametrize("scope", ["default", "sp_1", "A-b_9"])
def test_valid_scope_is_returned_unchanged(scope):
    assert settings(scope=scope).scope == scope


@pytest.mark.parametrize("scope", ["", "a b", "a/b", "ü", "x" * 129, "..", "a\n"])
def test_invalid_space_is_refused_as_a_scope(scope):
    with pytest.raises(ValueError, match="a scope of the browser API is a space"):
        settings(scope=scope)


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        ({}, 15),
        ({"wait_seconds": 60}, 30),
        ({"deadlines": {"create": 9}}, 4),
        ({"read_timeout": 3}, 1),
        ({"wait_seconds": 0}, 0),
    ],
)
def test_wait_uses_at_most_half_of_the_time(options, seconds):
    assert settings(**options).wait(Operation.CREATE) == seconds


@pytest.mark.parametrize(
    ("scope", "canonical_scope", "members", "answers"),
    [
        (SPACE, SPACE, {}, True),
        (SPACE, SPACE, {"name": "another"}, False),
        (SPACE, SPACE, {"spaceId": "sp_2"}, False),
        (SPACE, SPACE, {"spaceId": None}, True),
        ("default", SPACE, {}, True),
        ("default", SPACE, {"spaceId": "sp_2"}, False),
        ("default", "default", {"spaceId": "sp_2"}, True),
    ],
)
async def test_only_a_browser_of_the_name_and_space_answers_a_create(scope, canonical_scope, members, answers):
    """The space of the alias ``default`` can be compared only if its id is known."""
    browsers, _ = adapter(answer(201, row(**members)), scope=scope)
    created = await browsers.create(create(), scope, CALL)
    assert browsers.answers_create(created.runtime, "checkout-bot", canonical_scope) is answers


async def test_account_without_an_organization_is_the_user():
    browsers, _ = adapter(answer(200, {"object": "identity", "userId": "u_1"}))
    assert await browsers.account(CALL) == "u_1"
