"""What a caller with a key of the gateway cannot reach through the dialects."""

import pytest
from yarl import URL

from tests.component.dialects.bctrl_world import WORKSPACE, world


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
