import pytest

from gateway.domain.errors import (
    NotFound,
    OutcomeUnknown,
    ProviderBadResponse,
    RuntimeReplaced,
    UnsupportedFeature,
    ValidationFailed,
)
from gateway.domain.ids import RuntimeRef, b64url
from gateway.domain.pages import ListFilter, ProviderQuery
from gateway.domain.requests import CreateBrowser, CreateDurable
from gateway.domain.validation import validate
from gateway.domain.values import Operation, State
from gateway.ports.error_mapping import transport_error
from gateway.ports.transport import Phase, TransportFailure
from tests.unit.adapters.bctrl.fakes import OTHER, TOKEN, UUID, WORKSPACE, adapter, row, settings
from tests.unit.adapters.fakes import CALL, answer

REF = RuntimeRef(WORKSPACE, UUID, "checkout-bot")
CREATE = validate(CreateBrowser, {"kind": "browser", "name": "checkout-bot"})


async def test_create_posts_to_the_workspace_with_the_token():
    bctrl, transport = adapter(answer(200, row()))
    created = await bctrl.create(CREATE, WORKSPACE, CALL)
    (sent,) = transport.sent
    assert (sent.method, sent.path) == ("POST", f"/v1/workspaces/{WORKSPACE}/runtimes")
    assert sent.headers["Authorization"] == f"Bearer {TOKEN}"
    assert sent.body == b'{"alias":"checkout-bot","kind":"browser"}'
    assert created.created
    assert created.runtime.provider_id == UUID


async def test_create_with_201_succeeds():
    bctrl, _ = adapter(answer(201, row()))
    assert (await bctrl.create(CREATE, WORKSPACE, CALL)).runtime.name == "checkout-bot"


@pytest.mark.parametrize(("status", "body"), [(204, b""), (202, b'{"message": "accepted"}')])
async def test_write_with_a_success_without_a_runtime_has_an_unknown_outcome(status, body):
    bctrl, _ = adapter(answer(status, body), answer(200, row()), answer(status, body))
    with pytest.raises(OutcomeUnknown):
        await bctrl.create(CREATE, WORKSPACE, CALL)
    with pytest.raises(OutcomeUnknown):
        await bctrl.stop(REF, CALL)


async def test_base_url_ending_in_v1_gets_no_second_v1():
    bctrl, transport = adapter(answer(200, row()), base_url="http://bctrl.test/v1/")
    await bctrl.get(REF, CALL)
    assert transport.sent[0].path == f"/workspaces/{WORKSPACE}/runtimes/checkout-bot"


async def test_free_text_is_encoded_as_one_path_segment():
    bctrl, transport = adapter(answer(200, row(alias="a/b ü?")), scope="my space%")
    await bctrl.get(RuntimeRef("my space%", UUID, "a/b ü?"), CALL)
    assert transport.sent[0].path == "/v1/workspaces/my%20space%25/runtimes/a%2Fb%20%C3%BC%3F"


@pytest.mark.parametrize("scope", ["", "a/b", "..", ".", "a\nb", "x" * 201])
def test_scope_that_cannot_be_a_path_segment_is_refused(scope):
    bctrl, _ = adapter()
    with pytest.raises(ValueError, match="workspace id"):
        bctrl.parse_scope(scope)
    with pytest.raises(ValueError, match="workspace id"):
        settings(scope=scope)


def test_workspace_id_may_be_any_text():
    bctrl, _ = adapter()
    assert bctrl.parse_scope("Team 7") == "Team 7"


@pytest.mark.parametrize("scope", [WORKSPACE, None])
async def test_id_of_a_runtime_parses_to_its_reference(scope):
    bctrl, _ = adapter(answer(200, row(alias="Ünïcode/bot", id=UUID.upper())), scope=scope)
    runtime = await bctrl.get(RuntimeRef(WORKSPACE, UUID, "Ünïcode/bot"), CALL)
    provider, _, reference = runtime.id.partition(".")
    assert provider == "bc"
    assert bctrl.parse_reference(reference) == bctrl.reference(runtime) == RuntimeRef(WORKSPACE, UUID, "Ünïcode/bot")


def test_upper_case_uuid_in_a_reference_is_lowered():
    bctrl, _ = adapter()
    assert bctrl.parse_reference(f"{b64url('bot')}~{UUID.upper()}").provider_id == UUID


PINNED = f"{b64url('bot')}~{UUID}"
OPEN = f"{b64url(WORKSPACE)}~{PINNED}"


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "~",
        UUID,
        f"~{UUID}",
        f"{b64url('..')}~{UUID}",
        f"{b64url('bot')}~{UUID[:-1]}",
        f"!~{UUID}",
        f"~{PINNED}",
        OPEN,
    ],
)
def test_malformed_reference_is_not_found_at_a_pinned_provider(reference):
    bctrl, _ = adapter()
    with pytest.raises(NotFound):
        bctrl.parse_reference(reference)


@pytest.mark.parametrize("reference", ["", "~~", PINNED, f"{b64url('a/b')}~{PINNED}", f"x~{OPEN}", f"~{PINNED}"])
def test_malformed_reference_is_not_found_at_an_open_provider(reference):
    bctrl, _ = adapter(scope=None)
    with pytest.raises(NotFound):
        bctrl.parse_reference(reference)


async def test_read_with_another_uuid_raises_runtime_replaced():
    bctrl, _ = adapter(answer(200, row(id=OTHER)))
    with pytest.raises(RuntimeReplaced):
        await bctrl.get(REF, CALL)


async def test_response_with_a_runtime_of_another_alias_belongs_to_another_request():
    other = row(id=OTHER, alias="another")
    bctrl, _ = adapter(answer(200, other), answer(200, row()), answer(200, {**other, "status": "stopped"}))
    with pytest.raises(ProviderBadResponse):
        await bctrl.get(REF, CALL)
    with pytest.raises(OutcomeUnknown):
        await bctrl.stop(REF, CALL)


@pytest.mark.parametrize(
    ("operation", "error"), [(Operation.GET, ProviderBadResponse), (Operation.STOP, OutcomeUnknown)]
)
async def test_forwarded_call_rejects_a_runtime_of_another_alias(operation, error):
    bctrl, _ = adapter(answer(200, row(alias="another")))
    with pytest.raises(error):
        await bctrl.native(operation, WORKSPACE, CALL, "checkout-bot")


async def test_stop_reads_the_runtime_first():
    bctrl, transport = adapter(answer(200, row()), answer(200, row(status="stopped")))
    stopped = await bctrl.stop(REF, CALL)
    path = f"/v1/workspaces/{WORKSPACE}/runtimes/checkout-bot"
    assert [(sent.method, sent.path, sent.body) for sent in transport.sent] == [
        ("GET", path, None),
        ("POST", f"{path}/stop", None),
    ]
    assert {sent.operation for sent in transport.sent} == {Operation.STOP}, "the read is work of the stop's class"
    assert stopped.state is State.STOPPED


async def test_replaced_runtime_is_not_stopped():
    bctrl, transport = adapter(answer(200, row(id=OTHER)))
    with pytest.raises(RuntimeReplaced, match="nothing was done"):
        await bctrl.stop(REF, CALL)
    assert [sent.method for sent in transport.sent] == ["GET"]


async def test_stop_that_reached_another_runtime_raises_runtime_replaced():
    bctrl, _ = adapter(answer(200, row()), answer(200, row(id=OTHER, status="stopped")))
    with pytest.raises(RuntimeReplaced, match="other runtime may have been stopped"):
        await bctrl.stop(REF, CALL)


async def test_lost_read_before_a_stop_is_not_an_unknown_outcome():
    lost = TransportFailure("timeout", Phase.SENT, operation=Operation.STOP)
    bctrl, _ = adapter(lost)
    with pytest.raises(TransportFailure) as caught:
        await bctrl.stop(REF, CALL)
    assert not isinstance(transport_error("bc", Operation.STOP, caught.value), OutcomeUnknown)


async def test_lost_stop_has_an_unknown_outcome():
    bctrl, _ = adapter(answer(200, row()), TransportFailure("timeout", Phase.SENT, operation=Operation.STOP))
    with pytest.raises(TransportFailure) as caught:
        await bctrl.stop(REF, CALL)
    assert isinstance(transport_error("bc", Operation.STOP, caught.value), OutcomeUnknown)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"id": "no-uuid"}', b"null"])
async def test_success_in_another_form_is_a_bad_response_of_a_read_and_an_unknown_outcome_of_a_write(body):
    bctrl, _ = adapter(answer(200, body), answer(200, body), answer(200, body), answer(200, row()), answer(200, body))
    with pytest.raises(ProviderBadResponse):
        await bctrl.get(REF, CALL)
    with pytest.raises(ProviderBadResponse):
        await bctrl.list(ProviderQuery(scope=WORKSPACE), CALL)
    with pytest.raises(OutcomeUnknown):
        await bctrl.create(CREATE, WORKSPACE, CALL)
    with pytest.raises(OutcomeUnknown):
        await bctrl.stop(REF, CALL)


def _uuid(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


async def test_find_returns_all_runtimes_of_the_alias_live_and_newest_first():
    rows = [
        row(id=_uuid(1), status="stopped", createdAt="2026-03-05T00:00:00Z"),
        row(id=_uuid(2), createdAt="2026-03-01T00:00:00Z"),
        row(id=_uuid(3), status="dreaming", createdAt="2026-03-03T00:00:00Z"),
        row(id=_uuid(4), alias="checkout-bot2"),
        row(id=_uuid(5), alias="Checkout-Bot"),
        row(id=_uuid(6), status="failed", createdAt="2026-03-06T00:00:00Z"),
    ]
    bctrl, _ = adapter(answer(200, {"runtimes": rows}))
    found = await bctrl.find(WORKSPACE, "checkout-bot", CALL)
    assert [runtime.provider_id for runtime in found] == [_uuid(3), _uuid(2), _uuid(6), _uuid(1)]


@pytest.mark.parametrize("more", [{"nextCursor": "c"}, {"hasMore": True}])
async def test_incomplete_list_does_not_prove_absence(more):
    """The era has no pages. If the provider adds them, a partial list must not look complete."""
    bctrl, _ = adapter(*[answer(200, {"runtimes": [], **more})] * 2)
    with pytest.raises(ProviderBadResponse):
        await bctrl.find(WORKSPACE, "checkout-bot", CALL)
    with pytest.raises(ProviderBadResponse):
        await bctrl.list(ProviderQuery(scope=WORKSPACE), CALL)


async def test_account_is_empty_and_a_workspace_is_its_own_canonical_scope():
    bctrl, transport = adapter()
    assert await bctrl.account(CALL) == ""
    assert await bctrl.canonical_scope(WORKSPACE, CALL) == WORKSPACE
    assert not transport.sent


async def test_find_by_the_name_of_an_owned_runtime_matches_that_name_only():
    owned = "checkout-bot.rgw-abcdefghijk"
    bctrl, _ = adapter(answer(200, {"runtimes": [row(), row(id=OTHER, alias=owned)]}))
    assert [runtime.provider_id for runtime in await bctrl.find(WORKSPACE, owned, CALL)] == [OTHER]


async def test_find_in_an_empty_workspace_returns_nothing():
    bctrl, _ = adapter(answer(200, {"runtimes": []}))
    assert not await bctrl.find(WORKSPACE, "checkout-bot", CALL)


async def test_list_is_filtered_and_paged_by_the_adapter():
    rows = [row(id=_uuid(n), kind="desktop" if n % 2 else "browser", alias=f"r{n}") for n in range(10)]
    bctrl, _ = adapter(*[answer(200, {"runtimes": rows, "nextCursor": None})] * 3)
    wanted = ListFilter(kinds=frozenset({"desktop"}))
    names, cursor = [], None
    for limit in (2, 1, 50):
        page = await bctrl.list(ProviderQuery(scope=WORKSPACE, filter=wanted, limit=limit, cursor=cursor), CALL)
        names += [runtime.name for runtime in page.items]
        cursor = page.next_cursor
    assert names == ["r1", "r3", "r5", "r7", "r9"]
    assert cursor is None


async def test_credentials_are_checked_in_the_pinned_workspace():
    bctrl, transport = adapter(answer(200, {"runtimes": []}))
    await bctrl.check_credentials(CALL)
    assert transport.sent[0].path == f"/v1/workspaces/{WORKSPACE}/runtimes"


async def test_credentials_of_an_open_provider_are_checked_by_listing_the_workspaces():
    bctrl, transport = adapter(answer(200, {"workspaces": []}), answer(200, {"data": []}), scope=None)
    await bctrl.check_credentials(CALL)
    assert (transport.sent[0].method, transport.sent[0].path) == ("GET", "/v1/workspaces")
    with pytest.raises(ProviderBadResponse):
        await bctrl.check_credentials(CALL)


def test_unknown_provider_options_are_refused_at_their_pointers():
    bctrl, _ = adapter()
    request = validate(CreateBrowser, {"kind": "browser", "provider_options": {"a/b": 1, "ttl": 2}})
    with pytest.raises(ValidationFailed) as caught:
        bctrl.check_create(request)
    assert [error.pointer for error in caught.value.errors] == ["#/provider_options/a~1b", "#/provider_options/ttl"]


def test_other_kinds_than_browsers_are_refused():
    bctrl, _ = adapter()
    with pytest.raises(UnsupportedFeature):
        bctrl.check_create(validate(CreateDurable, {"kind": "durable"}))


def test_features_are_those_of_the_api():
    bctrl, _ = adapter()
    assert bctrl.features == {
        "stop",
        "launch_on_create",
        "driver_puppeteer",
        "driver_playwright",
        "driver_selenium",
        "driver_stagehand",
        "launch_profile",
        "launch_ephemeral",
        "extension_ids",
        "humanize",
        "humanize_persona_id",
        "solve_captchas",
        "proxy_http",
        "proxy_socks5",
    }


async def test_no_secret_is_in_a_repr():
    bctrl, transport = adapter(answer(200, row()))
    proxy = {"type": "http", "host": "h", "port": 1, "password": "hunter2!"}
    request = {"kind": "browser", "name": "b", "launch": {"mode": "ephemeral", "proxy": proxy}}
    await bctrl.create(validate(CreateBrowser, request), WORKSPACE, CALL)
    (sent,) = transport.sent
    assert b"hunter2!" in (sent.body or b"")
    shown = f"{sent!r}{bctrl!r}{bctrl.settings!r}"
    assert "hunter2!" not in shown
    assert TOKEN not in shown


async def test_stop_with_discard_state_is_refused_and_sends_nothing():
    bctrl, transport = adapter()
    with pytest.raises(UnsupportedFeature):
        await bctrl.stop(REF, CALL, discard_state=True)
    assert not transport.sent


@pytest.mark.parametrize(
    ("members", "answers"),
    [
        ({}, True),
        ({"alias": "another"}, False),
        ({"workspaceId": WORKSPACE.upper()}, True),
        ({"workspaceId": OTHER}, False),
    ],
)
async def test_only_a_runtime_of_the_alias_and_workspace_answers_a_create(members, answers):
    bctrl, _ = adapter(answer(201, row(**members)))
    created = await bctrl.create(CREATE, WORKSPACE, CALL)
    assert bctrl.answers_create(created.runtime, "checkout-bot", WORKSPACE) is answers
