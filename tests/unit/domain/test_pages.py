"""Paging of a complete list: nothing is skipped or repeated while runtimes are created and deleted and limits
change."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import InvalidRequest
from gateway.domain.pages import ListFilter, ProviderQuery, page_of_all
from gateway.domain.runtime import BrowserPart, DurablePart, Project, Runtime
from gateway.domain.values import State

CREATED = st.one_of(
    st.none(),
    st.sampled_from(
        [
            "2026-03-01T10:00:00Z",
            "2026-03-01T10:00:00.5Z",
            "2026-03-01T11:00:00+01:00",
            "2026-03-01T10:00:00",
            "yesterday",
            'a|b"',
        ]
    ),
    st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
    st.text(max_size=5),
)


def runtime(provider_id: str, created_at: str | None = None, **fields: object) -> Runtime:
    known: dict[str, object] = {"kind": "browser", "state": State.RUNNING, **fields}
    return Runtime(
        id=f"p.{provider_id}", provider="p", scope="s", provider_id=provider_id, created_at=created_at, **known
    )  # type: ignore[arg-type]


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Runtime], list[tuple[int, list[Runtime]]]]:
    """The runtimes that exist throughout, and for each page its limit and the other runtimes at that time."""
    rows = draw(st.lists(CREATED, max_size=16))
    everything = [runtime(f"{number:03}", created) for number, created in enumerate(rows)]
    lasting = [row for row in everything if draw(st.booleans())]
    passing = [row for row in everything if row not in lasting]
    pages = draw(
        st.lists(
            st.tuples(
                st.integers(1, 7),
                st.lists(st.sampled_from(passing), unique_by=lambda row: row.id) if passing else st.just([]),
            ),
            min_size=1,
            max_size=30,
        )
    )
    return lasting, pages


@given(histories(), st.randoms(use_true_random=False))
def test_runtimes_that_exist_throughout_are_listed_exactly_once(history, random) -> None:
    lasting, pages = history
    seen: list[str] = []
    cursor: str | None = None
    rows = {row.id for row in lasting} | {row.id for _, others in pages for row in others}
    for number in range(len(rows) + 1):  # every page but the last returns at least one row
        limit, others = pages[number % len(pages)]
        present = [*lasting, *others]
        random.shuffle(present)
        page = page_of_all(present, ProviderQuery(scope="s", limit=limit, cursor=cursor))
        assert len(page.items) <= limit
        seen += [row.id for row in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert cursor is None, "the list did not end"
    assert len(seen) == len(set(seen))
    assert {row.id for row in lasting} <= set(seen)


def test_pages_are_in_order_of_creation_whatever_the_time_zone() -> None:
    rows = [
        runtime("b", "2026-03-01T10:00:00Z"),
        runtime("a", "2026-03-01T10:00:00+01:00"),
        runtime("c", "2026-03-01T09:00:00.000001Z"),
        runtime("d", "2026-03-01T10:00:00Z"),
    ]
    page = page_of_all(rows, ProviderQuery(scope="s"))
    assert [row.provider_id for row in page.items] == ["a", "c", "b", "d"]


def test_a_page_that_is_exactly_full_is_the_last_one() -> None:
    page = page_of_all([runtime("a"), runtime("b")], ProviderQuery(scope="s", limit=2))
    assert page.next_cursor is None


@pytest.mark.parametrize("cursor", ["", "x", "|", "null", "[]", '["a"]', '["a",1]', '["a","b","c"]'])
def test_a_cursor_that_was_not_returned_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidRequest):
        page_of_all([runtime("a")], ProviderQuery(scope="s", cursor=cursor))


def test_the_filter_applies_before_the_limit() -> None:
    rows = [runtime("a", state=State.STOPPED), runtime("b"), runtime("c")]
    query = ProviderQuery(scope="s", limit=2, filter=ListFilter(states=frozenset({State.RUNNING})))
    page = page_of_all(rows, query)
    assert [row.provider_id for row in page.items] == ["b", "c"]
    assert page.next_cursor is None


PROJECT = Project(id="11111111-2ee2-4e00-89ec-32d5f69181c0", key="shop")


@pytest.mark.parametrize(
    ("wanted", "accepted"),
    [
        (ListFilter(), True),
        (ListFilter(kinds=frozenset({"durable"})), True),
        (ListFilter(kinds=frozenset({"browser"})), False),
        (ListFilter(states=frozenset({State.IDLE, State.RUNNING})), True),
        (ListFilter(states=frozenset({State.IDLE})), False),
        (ListFilter(name="agent"), True),
        (ListFilter(name="Agent"), False),
        (ListFilter(project="shop"), True),
        (ListFilter(project=PROJECT.id), True),
        (ListFilter(project="other"), False),
        (ListFilter(visible=lambda _: True), True),
        (ListFilter(visible=lambda _: False), False),
    ],
)
def test_a_filter_accepts_by_kind_state_name_project_and_owner(wanted: ListFilter, accepted: bool) -> None:
    row = runtime("a", kind="durable", name="agent", durable=DurablePart(project=PROJECT, owned_by_me=True))
    assert wanted.accepts(row) is accepted


def test_a_project_filter_excludes_runtimes_without_a_project() -> None:
    assert not ListFilter(project="shop").accepts(runtime("a", browser=BrowserPart()))
