"""The mark of an owner in the labels of a durable runtime, where a response shows them."""

from typing import Any

import msgspec
import pytest

from gateway.domain.ownership import OWNER_MARK
from gateway.domain.runtime import ENCODER
from tests.unit.adapters.durable.fakes import REF, SCOPE, adapter, create, failure, page, row
from tests.unit.adapters.fakes import CALL, answer

LABELS: dict[str, Any] = {"team": "shop", OWNER_MARK: "sealed"}


def config(labels: Any) -> dict[str, Any]:
    return {"version": "v2", "metadata": {"labels": labels}}


@pytest.mark.parametrize("owner", ["shop", None])
async def test_runtime_with_a_config_shows_the_owner_and_not_the_mark(owner: str | None) -> None:
    shown = row(config=config(LABELS))
    durable, _ = adapter(answer(201, shown), failure(404, "not_found_error"), page(shown), answer(200, shown))
    durable.owner_marks.open = lambda name, mark: owner if (name, mark) == ("agent", "sealed") else "wrong"
    made = await durable.create(create(), SCOPE, CALL)
    assert msgspec.json.decode(made.native or b"") == {**shown, "config": config({"team": "shop"})}
    (listed,) = await durable.find(SCOPE, "agent", CALL)
    for runtime in (made.runtime, listed, await durable.get(REF, CALL)):
        assert (runtime.owner, runtime.labels) == (owner, {"team": "shop"})
        assert "sealed" not in ENCODER.encode(runtime).decode()


async def test_config_has_no_mark() -> None:
    body = {"config": config(LABELS), "config_digest": "d"}
    durable, _ = adapter(answer(200, body))
    document = await durable.get_config(REF, CALL)
    assert (document.config, document.config_digest) == (config({"team": "shop"}), "d")


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({}, None),
        ({"config": None}, None),
        ({"config": {"version": "v2"}}, {"version": "v2", "metadata": {"labels": {OWNER_MARK: "m"}}}),
        ({"labels": {}}, {"metadata": {"labels": {OWNER_MARK: "m"}}}),
        (
            {"config": {"metadata": {"x": 1}}, "labels": {"a": "b"}},
            {"metadata": {"x": 1, "labels": {"a": "b", OWNER_MARK: "m"}}},
        ),
    ],
)
def test_mark_is_sent_with_a_config_or_labels_only(fields: Any, sent: Any) -> None:
    durable, _ = adapter()
    body = msgspec.json.decode(durable.wire_create(create(**fields).with_owner_mark("m"), SCOPE).body)
    assert body.get("config") == sent
    assert OWNER_MARK not in durable.wire_create(create(**fields), SCOPE).body.decode()
