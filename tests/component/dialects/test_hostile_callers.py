"""What a caller with a key of the gateway cannot reach through the dialects."""

import pytest
from yarl import URL

from tests.component.dialects.bctrl_world import WORKSPACE, world
from tests.component.dialects.durable_sides import through_the_gateway


@pytest.mark.parametrize("odd", ["%2e%2e", "%2E", "..%2fruntimes", "x%2f..%2f..%2fsecrets", "..%5cx"])
async def test_an_id_of_dots_leads_nowhere_and_nothing_is_sent(odd: str) -> None:
    async with world() as w:
        for below in ("browsers", "runtimes", f"workspaces/{WORKSPACE}/runtimes"):
            for method, verb in (("GET", ""), ("POST", "/stop")):
                url = URL(f"{w.dialect.url}/v1/{below}/{odd}{verb}", encoded=True)
                headers = {"Authorization": f"Bearer {w.dialect.key}"}
                async with w.dialect.session.request(method, url, headers=headers) as response:
                    assert response.status == 404, url
                    assert (await response.json())["error"]
        assert not any(emulator.requests.per_operation for emulator in w.emulators.values())


@pytest.mark.parametrize(
    ("below", "body"),
    [
        ("browsers", b'{"metadata": %s}'),
        ("runtimes", b'{"type": "browser", "metadata": %s}'),
        (f"workspaces/{WORKSPACE}/runtimes", b'{"alias": "a", "kind": "browser", "launch": %s}'),
    ],
)
async def test_nobody_can_make_a_list_unreadable_for_others(below: str, body: bytes) -> None:
    """What one caller nests without end would come back in everybody's lists."""
    async with world() as w:
        refused = await w.dialect.call("POST", f"/v1/{below}", body % (b'{"a":' * 900 + b"1" + b"}" * 900))
        assert refused.status == 400
        assert not any(emulator.requests.per_operation for emulator in w.emulators.values())
        assert (await w.dialect.call("GET", f"/v1/{below}")).status == 200


async def test_a_config_without_end_reaches_no_provider() -> None:
    async with through_the_gateway() as side:
        body = b'{"key": "a", "config": {"version": "v2", "x": %s}}' % (b"[" * 900 + b"]" * 900)
        status, told, _ = await side.call("POST", "/org/acme/ws/research/runtimes", raw=body)
        assert (status, told["type"]) == (400, "invalid_error")
        assert not side.emulator.committed["create"]
