"""The marker in a browser's metadata: never shown to a client of the dialects, and kept by updates."""

import pytest

from tests.component.dialects.bctrl_world import SPACE, Reply, World, world

MARKER = "rgw_intent"


async def _marked(w: World, **metadata: object) -> str:
    """Create a browser with a marker."""
    async with w.gateway.session.post(
        f"{w.urls['browsers-demo']}/v1/browsers?wait=10",
        json={"name": "one", "spaceId": SPACE, "metadata": {**metadata, MARKER: "m-1"}},
        headers={"Authorization": "Bearer token-of-bctrl-4711"},
    ) as response:
        assert response.status == 201
        made: str = (await response.json())["id"]
        return made


def _kept(w: World) -> str | None:
    (made,) = w.browsers.made()
    return made.marker


def _without(reply: Reply) -> Reply:
    assert reply.status == 200, reply.json
    assert MARKER not in str(reply.json)
    return reply


async def test_current_era_never_shows_the_marker() -> None:
    """Metadata with only the marker is shown empty."""
    async with world() as w:
        one = f"/v1/browsers/{await _marked(w)}"
        assert _without(await w.dialect.call("GET", one)).json["metadata"] == {}
        listed = _without(await w.dialect.call("GET", "/v1/browsers"))
        assert [row["metadata"] for row in listed.json["data"]] == [{}]
        for verb in ("connections/revoke", "stop?wait=10", "start?wait=10"):
            assert _without(await w.dialect.call("POST", f"{one}/{verb}")).json["metadata"] == {}
        assert _without(await w.dialect.call("PATCH", one, {"recording": False})).json["metadata"] == {}
        assert _kept(w) == "m-1"
        _without(await w.dialect.call("DELETE", one))


async def test_flat_era_never_shows_the_marker() -> None:
    async with world() as w:
        one = f"/v1/runtimes/{await _marked(w, team='shop')}"
        assert _without(await w.dialect.call("GET", one)).json["metadata"] == {"team": "shop"}
        _without(await w.dialect.call("GET", "/v1/runtimes"))
        for verb in ("stop", "start"):
            _without(await w.dialect.call("POST", f"{one}/{verb}"))
        assert _without(await w.dialect.call("PATCH", one, {"recording": False})).json["metadata"] == {"team": "shop"}
        _without(await w.dialect.call("DELETE", f"{one}?force=true"))


@pytest.mark.parametrize("era", ["browsers", "runtimes"])
async def test_update_of_metadata_keeps_the_marker(era: str) -> None:
    """The provider replaces metadata as a whole."""
    async with world() as w:
        one = f"/v1/{era}/{await _marked(w, team='shop')}"
        for metadata in ({"team": "ops"}, {}):
            changed = _without(await w.dialect.call("PATCH", one, {"metadata": metadata}))
            assert changed.json["metadata"] == metadata
            assert _kept(w) == "m-1"


async def test_update_by_name_is_sent_to_the_id_that_was_read() -> None:
    """A name can belong to another browser a moment later."""
    async with world() as w:
        made = await _marked(w)
        _without(await w.dialect.call("PATCH", "/v1/browsers/one", {"metadata": {"a": 1}, "name": "two"}))
        (sent,) = w.browsers.requests.received("update")
        assert sent.path == f"/v1/browsers/{made}"
        assert sent.body == {"metadata": {"a": 1, MARKER: "m-1"}, "name": "two"}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/browsers", {}),
        ("PATCH", "/v1/browsers/br_1", {}),
        ("POST", "/v1/runtimes", {"type": "browser"}),
        ("PATCH", "/v1/runtimes/br_1", {}),
    ],
)
async def test_marker_of_a_client_is_refused_in_its_era(method: str, path: str, body: dict) -> None:
    async with world() as w:
        reply = await w.dialect.call(method, path, {**body, "metadata": {MARKER: "mine"}})
        error_body = reply.json["error"] if "browsers" in path else reply.json
        assert (reply.status, error_body["code"]) == (400, "request.invalid")
        assert error_body["details"]["errors"][0]["member"] == f"metadata.{MARKER}"
        assert list(w.browsers.made()) == []


async def test_unified_api_never_shows_the_marker() -> None:
    async with world() as w:
        await _marked(w, team="shop")
        listed = _without(await w.gateway.call("GET", "/v1/runtimes"))
        (shown,) = listed.json["items"]
        assert shown["labels"] == {"team": "shop"}
        assert "metadata" not in shown["provider_data"]
