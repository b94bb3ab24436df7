"""Lists, and the look-up by name."""

import pytest

from gateway.domain.errors import (
    InvalidRequest,
    PermissionDenied,
    ProviderBadResponse,
    ProviderUnavailable,
    RateLimited,
)
from gateway.domain.pages import ListFilter, ProviderQuery
from gateway.domain.values import Operation, State
from gateway.ports.transport import Phase, TransportFailure
from tests.unit.adapters.durable.fakes import OTHER, PROJECT, SCOPE, UUID, W, adapter, failure, page, row
from tests.unit.adapters.fakes import CALL, answer

THIRD = "33333333-2ee2-4e00-8ec9-32d5f69181c0"


def _query(limit: int = 50, cursor: str | None = None, **wanted: object) -> ProviderQuery:
    return ProviderQuery(scope=SCOPE, filter=ListFilter(**wanted), limit=limit, cursor=cursor)


@pytest.mark.parametrize(
    ("query", "parameters"),
    [
        (_query(), [("limit", "50")]),
        (_query(limit=7, cursor="c&="), [("limit", "7"), ("cursor", "c&=")]),
        (_query(limit=500), [("limit", "100")]),
        (
            _query(states=frozenset({State.PAUSED, State.IDLE, State.FAILED})),
            [("limit", "50"), ("state", "idle,paused")],
        ),
        (_query(states=frozenset({State.IDLE, State.UNKNOWN})), [("limit", "50")]),
        (_query(project=PROJECT.upper()), [("limit", "50"), ("project_id", PROJECT)]),
        (_query(project="shop"), [("limit", "50")]),
        (_query(limit=3, name="agent"), [("limit", "100")]),
    ],
)
async def test_filters_that_the_provider_supports_are_sent(query, parameters):
    durable, transport = adapter(page(row()))
    assert [runtime.name for runtime in (await durable.list(query, CALL)).items] == ["agent"]
    (sent,) = transport.sent
    assert (sent.operation, sent.method, sent.path) == (Operation.LIST, "GET", W)
    assert list(sent.query) == parameters


@pytest.mark.parametrize("wanted", [{"kinds": frozenset({"browser"})}, {"states": frozenset({State.STOPPED})}])
async def test_filter_that_no_durable_runtime_matches_is_empty_without_a_call(wanted):
    durable, transport = adapter()
    result = await durable.list(_query(**wanted), CALL)
    assert (list(result.items), result.next_cursor, transport.sent) == ([], None, [])


async def test_whole_filter_is_applied_to_the_result():
    rows = [row(), row(id=OTHER, status="running", project_key="x", project_id=OTHER), row(id=THIRD, owned_by_me=False)]
    for wanted, kept in (
        ({"states": frozenset({State.IDLE})}, [UUID, THIRD]),
        ({"project": "shop"}, [UUID, THIRD]),
        ({"project": PROJECT}, [UUID, THIRD]),
        ({"states": frozenset({State.UNKNOWN})}, []),
    ):
        durable, _ = adapter(page(*rows))
        assert [runtime.provider_id for runtime in (await durable.list(_query(**wanted), CALL)).items] == kept


async def test_row_without_a_project_is_kept_when_filtered_by_project_uuid():
    unmarked = row(project_id=None, project_key=None, project_name=None)
    durable, _ = adapter(page(unmarked, {**unmarked, "id": OTHER, "status": "paused"}))
    result = await durable.list(_query(project=PROJECT, states=frozenset({State.IDLE})), CALL)
    assert [runtime.provider_id for runtime in result.items] == [UUID]
    durable, _ = adapter(page(unmarked))
    assert not (await durable.list(_query(project="shop"), CALL)).items


async def test_only_next_cursor_decides_whether_more_pages_follow():
    durable, _ = adapter(page(cursor="c2"), page(row(), cursor=""), answer(200, {"items": []}))
    assert (await durable.list(_query(), CALL)).next_cursor == "c2"
    assert (await durable.list(_query(), CALL)).next_cursor is None
    assert (await durable.list(_query(), CALL)).next_cursor is None


async def test_repeated_cursor_is_a_bad_response():
    durable, _ = adapter(page(row(), cursor="c2"))
    with pytest.raises(ProviderBadResponse, match="repeats"):
        await durable.list(_query(cursor="c2"), CALL)


@pytest.mark.parametrize("body", [{}, {"items": None}, {"items": {}}, [], {"items": [], "next_cursor": 3}, b"<html>"])
async def test_page_without_items_is_a_bad_response(body):
    durable, _ = adapter(answer(200, body))
    with pytest.raises(ProviderBadResponse):
        await durable.list(_query(), CALL)


async def test_invalid_cursor_is_an_invalid_request_at_400_and_422():
    for status, kind in ((400, "invalid_error"), (422, "validation_error")):
        durable, _ = adapter(failure(status, kind))
        with pytest.raises(InvalidRequest):
            await durable.list(_query(cursor="x"), CALL)


async def test_list_by_name_reads_pages_until_one_matches():
    durable, transport = adapter(
        page(row(key="a"), cursor="c1"), page(cursor="c2"), page(row(id=OTHER), cursor="c3"), page()
    )
    result = await durable.list(_query(name="agent"), CALL)
    assert ([runtime.provider_id for runtime in result.items], result.next_cursor) == ([OTHER], "c3")
    assert [dict(sent.query).get("cursor") for sent in transport.sent] == [None, "c1", "c2"]


async def test_list_by_name_without_a_match_stops_after_twenty_pages_and_returns_the_cursor():
    durable, transport = adapter(*(page(cursor=f"c{number}") for number in range(99)))
    result = await durable.list(_query(name="agent"), CALL)
    assert (list(result.items), result.next_cursor, len(transport.sent)) == ([], "c19", 20)


async def test_find_needs_no_list_when_the_read_by_key_shows_no_other_owner():
    for owned in ({"owned_by_me": True}, {"owned_by_me": None}):
        durable, transport = adapter(answer(200, row(**owned)))
        found = await durable.find(SCOPE, "agent", CALL)
        assert [runtime.provider_id for runtime in found] == [UUID]
        assert [(sent.operation, sent.path) for sent in transport.sent] == [(Operation.GET, f"{W}/agent")]


@pytest.mark.parametrize(
    "direct",
    [
        failure(404, "not_found_error"),
        failure(422, "validation_error"),
        failure(400, "invalid_error"),
        answer(404, b'{"detail": "Not Found"}'),
        answer(200, b"<html>"),
        answer(200, row(key="another")),
    ],
)
async def test_find_reads_the_whole_list_when_the_read_by_key_fails(direct):
    durable, transport = adapter(direct, page(row(key="x"), cursor="c1"), page(cursor="c2"), page(row()))
    found = await durable.find(SCOPE, "agent", CALL)
    assert [runtime.provider_id for runtime in found] == [UUID]
    assert [list(sent.query) for sent in transport.sent[1:]] == [
        [("limit", "100")],
        [("limit", "100"), ("cursor", "c1")],
        [("limit", "100"), ("cursor", "c2")],
    ]
    durable, _ = adapter(direct, page())
    assert await durable.find(SCOPE, "agent", CALL) == []


async def test_find_returns_own_runtimes_first_then_the_newest():
    foreign = row(id=OTHER, owned_by_me=False, created_at="2026-09-01T00:00:00Z")
    unmarked = row(id=THIRD, owned_by_me=None, created_at="2026-08-01T00:00:00Z")
    newer = row(id=PROJECT, created_at="2026-05-01T00:00:00Z")
    durable, _ = adapter(answer(200, foreign), page(foreign, unmarked, cursor="c"), page(row(), newer))
    found = await durable.find(SCOPE, "agent", CALL)
    assert [runtime.provider_id for runtime in found] == [PROJECT, UUID, THIRD, OTHER]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (failure(403, "forbidden_error"), PermissionDenied),
        (failure(429, "e2b_rate_limit_error"), RateLimited),
        (answer(503, b""), ProviderUnavailable),
        (TransportFailure("refused", Phase.CONNECTING), TransportFailure),
    ],
)
async def test_find_raises_when_a_request_fails(result, expected):
    for before in ([], [failure(404, "not_found_error")], [failure(404, "not_found_error"), page(cursor="c")]):
        durable, _ = adapter(*before, result)
        with pytest.raises(expected):
            await durable.find(SCOPE, "agent", CALL)


async def test_find_raises_for_a_list_of_more_than_50_pages_without_an_own_match():
    pages = [page(cursor=f"c{number}") for number in range(99)]
    durable, transport = adapter(failure(404, "not_found_error"), *pages)
    with pytest.raises(ProviderBadResponse, match="50 pages"):
        await durable.find(SCOPE, "agent", CALL)
    assert len(transport.sent) == 51
    durable, _ = adapter(failure(404, "not_found_error"), page(row(), cursor="c"), *pages)
    assert [runtime.provider_id for runtime in await durable.find(SCOPE, "agent", CALL)] == [UUID]
    durable, _ = adapter(failure(404, "not_found_error"), page(row(owned_by_me=False), cursor="c"), *pages)
    with pytest.raises(ProviderBadResponse, match="50 pages"):
        await durable.find(SCOPE, "agent", CALL)


async def test_find_raises_for_a_row_without_a_key_unless_an_own_runtime_matches():
    durable, _ = adapter(failure(404, "not_found_error"), page(row(key=None), row(id=OTHER, owned_by_me=False)))
    with pytest.raises(ProviderBadResponse, match="without a readable key"):
        await durable.find(SCOPE, "agent", CALL)
    durable, _ = adapter(failure(404, "not_found_error"), page(row(key=None), row(id=OTHER)))
    assert [runtime.provider_id for runtime in await durable.find(SCOPE, "agent", CALL)] == [OTHER]


async def test_find_with_markers_returns_the_creation_time():
    durable, _ = adapter(answer(200, row()))
    (seen,) = await durable.find_with_markers(SCOPE, "agent", CALL)
    assert (seen.runtime.created_at, seen.marker) == ("2026-03-01T09:00:00Z", None)
