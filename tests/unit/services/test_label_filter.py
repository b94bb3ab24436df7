"""Lists by label: from the provider's rows, else from what was sent; unknown labels are reported."""

from collections.abc import Mapping

import msgspec
import pytest

from gateway.domain.errors import InvalidRequest
from gateway.domain.ids import RuntimeRef
from gateway.domain.pages import ListFilter
from gateway.domain.runtime import ConfigDocument, DurablePart, Runtime
from gateway.domain.values import State
from gateway.services.listing import ListedPage, ListQuery, ListService
from gateway.services.sent_spec import MadeRuntime
from gateway.services.specs import SpecKeeper
from tests.unit.services.fakes import BrowserLike, DurableLike, FakeAdapter, context, create, fleet_of
from tests.unit.services.test_specs import Kept

SHOP = frozenset({("team", "shop")})


async def _page(
    *adapters: FakeAdapter,
    keeper: SpecKeeper | None = None,
    labels: frozenset[tuple[str, str]] = SHOP,
    limit: int = 50,
    cursor: str | None = None,
) -> ListedPage:
    query = ListQuery(filter=ListFilter(), labels=labels, limit=limit, cursor=cursor)
    return await ListService(fleet_of(adapters), keeper).page(query, context())


def _names(page: ListedPage) -> list[str | None]:
    return [runtime.name for runtime in page.items]


async def _made(kept: Kept, adapter: FakeAdapter, name: str, labels: Mapping[str, str] | None, digest: str) -> Runtime:
    """A durable runtime that the gateway made. Its list row has the digest of its config, and no labels."""
    runtime = adapter.put(name, State.IDLE, durable=DurablePart(config_digest=digest))
    sent = create("durable", name=name, **({} if labels is None else {"labels": labels}))
    await kept.keeper.remember(MadeRuntime(adapter, "home", runtime, sent, "shop"))
    return runtime


def _replace_digest(adapter: FakeAdapter, runtime: Runtime, digest: str) -> None:
    changed = msgspec.structs.replace(runtime, durable=DurablePart(config_digest=digest))
    adapter.world.runtimes[runtime.provider_id] = changed


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ({("team", "shop")}, ["both", "one"]),
        ({("team", "shop"), ("tier", "1")}, ["both"]),
        ({("team", "sho")}, []),
        ({("tier", "1")}, ["both", "other"]),
        ({("team", "shop"), ("team", "labs")}, []),
    ],
)
async def test_only_rows_with_all_the_labels_are_listed(labels: set[tuple[str, str]], names: list[str]) -> None:
    adapter = DurableLike("one")
    adapter.put("both", created_at="1", labels={"team": "shop", "tier": "1"})
    adapter.put("one", created_at="2", labels={"team": "shop"})
    adapter.put("other", created_at="3", labels={"team": "labs", "tier": "1"})
    adapter.put("none", created_at="4", labels={})
    page = await _page(adapter, labels=frozenset(labels))
    assert (_names(page), page.warnings, page.next_cursor) == (names, [], None)


async def test_labels_that_the_rows_lack_are_those_that_were_sent_also_in_another_process() -> None:
    here, adapter = await Kept.open(), DurableLike("one")
    await _made(here, adapter, "shop", {"team": "shop"}, "d1")
    await _made(here, adapter, "labs", {"team": "labs"}, "d2")
    await _made(here, adapter, "none", None, "d3")
    there = await here.another()
    page = await _page(adapter, keeper=there.keeper)
    assert (_names(page), page.warnings) == (["shop"], [])
    assert page.items[0].labels == {"team": "shop"}
    assert there.asked == ["specs"], "one call for the page"


async def test_runtimes_whose_labels_are_not_known_are_left_out_and_counted() -> None:
    here, adapter = await Kept.open(), DurableLike("one")
    changed = await _made(here, adapter, "changed", {"team": "shop"}, "d1")
    _replace_digest(adapter, changed, "d9")
    adapter.put("made-elsewhere", durable=DurablePart(config_digest="d7"))
    page = await _page(adapter, keeper=here.keeper)
    assert page.items == []
    (warning,) = page.warnings
    assert (warning.detail, warning.provider) == ("Runtimes whose labels are not known are left out: 2.", "one")


async def test_without_a_store_labels_that_the_rows_lack_are_not_known() -> None:
    adapter = DurableLike("one")
    adapter.put("a", durable=DurablePart(config_digest="d1"))
    adapter.put("b", labels={"team": "shop"})
    page = await _page(adapter)
    assert (_names(page), [warning.detail[-2:] for warning in page.warnings]) == (["b"], ["1."])


async def test_while_the_store_is_down_labels_are_not_known_and_the_list_is_answered() -> None:
    here, adapter = await Kept.open(), DurableLike("one")
    await _made(here, adapter, "shop", {"team": "shop"}, "d1")
    there = await here.another()
    there.down = True
    page = await _page(adapter, keeper=there.keeper)
    assert (page.items, page.failures, len(page.warnings)) == ([], [], 1)


async def test_labels_that_another_process_replaced_are_found() -> None:
    here, adapter = await Kept.open(), DurableLike("one")
    runtime = await _made(here, adapter, "agent", {"team": "labs"}, "d1")
    there = await here.another()
    assert _names(await _page(adapter, keeper=there.keeper)) == []
    document = ConfigDocument(config={"metadata": {"labels": {"team": "shop"}}}, config_digest="d2")
    here.keeper.config_replaced(adapter, RuntimeRef("home", runtime.provider_id), document)
    await here.keeper.close()
    _replace_digest(adapter, runtime, "d2")
    assert _names(await _page(adapter, keeper=there.keeper)) == ["agent"]


async def test_a_config_without_labels_that_replaced_one_with_labels_is_known() -> None:
    here, adapter = await Kept.open(), DurableLike("one")
    runtime = await _made(here, adapter, "agent", {"team": "shop"}, "d1")
    document = ConfigDocument(config={"version": "v2"}, config_digest="d2")
    here.keeper.config_replaced(adapter, RuntimeRef("home", runtime.provider_id), document)
    _replace_digest(adapter, runtime, "d2")
    page = await _page(adapter, keeper=here.keeper)
    assert (page.items, page.warnings) == ([], [])


async def test_a_provider_without_labels_is_not_asked() -> None:
    browsers = BrowserLike("two")
    browsers.put("bot", State.RUNNING)
    page = await _page(DurableLike("one"), browsers)
    assert (page.items, page.warnings, browsers.world.queries) == ([], [], [])


async def test_the_pages_of_a_label_are_filled_and_continue() -> None:
    adapter = DurableLike("one")
    for number in range(250):
        adapter.put(f"n{number}", created_at=f"{number:03}", labels={"team": "shop" if number % 50 == 49 else "labs"})
    first = await _page(adapter, limit=3)
    second = await _page(adapter, limit=3, cursor=first.next_cursor)
    assert (_names(first), _names(second), second.next_cursor) == (["n49", "n99", "n149"], ["n199", "n249"], None)


async def test_a_cursor_of_another_label_is_refused() -> None:
    adapter = DurableLike("one")
    for number in range(5):
        adapter.put(f"n{number}", created_at=f"{number}", labels={"team": "shop"})
    first = await _page(adapter, limit=2)
    with pytest.raises(InvalidRequest):
        await _page(adapter, labels=frozenset({("team", "labs")}), limit=2, cursor=first.next_cursor)
