"""What the dialect serves to clients of the workspaces API."""

from typing import Final

from adapters.bctrl.dialect import ERA
from tests.compatibility import Client, ClientCall, Compatibility

_RUNTIMES: Final = "/v1/workspaces/{id}/runtimes"

COMPATIBILITY: Final = (
    Compatibility(
        title="Workspaces era: plain HTTP, because no client of it is available",
        era=ERA,
        clients=(
            Client(
                "plain HTTP",
                None,
                "`http://HOST/bctrl`, before the `/v1` of the paths",
                "the header `Authorization: Bearer KEY`",
            ),
        ),
        calls=(
            ClientCall(
                f"POST {_RUNTIMES}",
                ("workspaces_create",),
                "If the alias has a live runtime, that runtime is returned when nothing visible differs, else 409 "
                "`runtime.name_conflict`. Members that the API does not have are refused.",
            ),
            ClientCall(f"GET {_RUNTIMES}", ("workspaces_list",)),
            ClientCall(f"GET {_RUNTIMES}/{{alias}}", ("workspaces_get",)),
            ClientCall(f"POST {_RUNTIMES}/{{alias}}/stop", ("workspaces_stop",)),
            ClientCall("*", note="Workspaces themselves, `execute` and everything else: 404 `route.not_found`."),
        ),
        error_members=("code", "reasonClass"),
    ),
)
"""The workspaces era. Its successors are served by ``bctrl_browsers``."""
