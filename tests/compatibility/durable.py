"""Support for the provider's own client (PyPI ``dreadnode``): its command line and its library."""

from typing import Final

from gateway.domain.values import Operation
from tests.compatibility import Client, ClientCall, Compatibility

_ENVIRONMENT: Final = "dreadnode-2.0.52"
_ERRORS: Final = ("type",)
_CONNECT: Final = ("get_user", "get_organization", "get_workspace", "list_workspaces", "get_project")
_SENTENCE: Final = "The gateway refuses an invalid value with its own message, before it calls the provider."
_NO_ROUTE: Final = "404 `not_found_error`"

_RULES: Final = f"{_NO_ROUTE}, unless rules of your own forward it."


def _forwarded(name: str) -> ClientCall:
    """A call that the preset contains."""
    return ClientCall(name, note=f"{_NO_ROUTE}, unless `dialects.durable.forward` has `reads`.", forward=("reads",))


def _dn(command: str, *routes: str, note: str = "") -> ClientCall:
    """A command. Each first reads its user, organization, workspace and project."""
    return ClientCall(f"dn {command}", (*_CONNECT, *routes), note)


_COMMANDS: Final = Compatibility(
    title="The command line `dn`",
    era=None,
    clients=(
        Client(
            "`dn` of `dreadnode` 2.0.52",
            _ENVIRONMENT,
            "`--server http://HOST/durable`, or `DREADNODE_SERVER`",
            "`--api-key`, or `DREADNODE_API_KEY`",
        ),
    ),
    calls=(
        _dn("runtime list", Operation.LIST),
        _dn("runtime get", Operation.GET),
        _dn("runtime create", Operation.CREATE, "list_secrets", note=_SENTENCE),
        _dn(
            "runtime start",
            *(Operation.GET, Operation.LIST, Operation.CREATE, Operation.RESUME, Operation.START, "list_secrets"),
        ),
        _dn("runtime pause", Operation.PAUSE),
        _dn("runtime resume", Operation.RESUME),
        _dn("runtime keepalive", Operation.KEEPALIVE, note=_SENTENCE),
        _dn("runtime reset", Operation.GET, Operation.RESET),
        _dn("runtime config-get", Operation.GET_CONFIG),
        _dn("runtime config-set", Operation.GET_CONFIG, Operation.REPLACE_CONFIG, "list_secrets", note=_SENTENCE),
        _dn("whoami"),
        _dn("login", "list_organizations", "list_projects", note="With a key only; a login by browser is refused."),
        _dn("secret list", "list_secrets", note="404 where the gateway has several durable accounts."),
        _dn("sandbox logs", "get_logs"),
        *(_forwarded(f"dn sandbox {name}") for name in ("list", "get", "usage")),
        *(_forwarded(f"dn session {name}") for name in ("list", "get", "export")),
        ClientCall("*", note=f"Every other command that calls the platform. {_RULES}", forward=("*",)),
    ),
    error_members=_ERRORS,
)

_LIBRARY: Final = Compatibility(
    title="The library's `ApiClient`",
    era=None,
    clients=(
        Client(
            "`dreadnode.app.api.client.ApiClient` of 2.0.52",
            _ENVIRONMENT,
            '`ApiClient("http://HOST/durable", …)`',
            "`api_key=`",
        ),
    ),
    calls=(
        ClientCall("create_runtime", (Operation.CREATE,), _SENTENCE),
        ClientCall("list_runtimes", (Operation.LIST,)),
        ClientCall("get_runtime", (Operation.GET,)),
        ClientCall("get_runtime_config", (Operation.GET_CONFIG,)),
        ClientCall("update_runtime_config", (Operation.REPLACE_CONFIG,), _SENTENCE),
        ClientCall("start_runtime", (Operation.START,)),
        ClientCall("pause_runtime", (Operation.PAUSE,)),
        ClientCall("resume_runtime", (Operation.RESUME,)),
        ClientCall("reset_runtime", (Operation.RESET,)),
        ClientCall("keepalive_runtime", (Operation.KEEPALIVE,), _SENTENCE),
        ClientCall("list_runtime_capabilities", (Operation.LIST_CAPABILITIES,)),
        ClientCall("install_runtime_capability", (Operation.INSTALL_CAPABILITY,)),
        ClientCall("toggle_runtime_capability", (Operation.UPDATE_CAPABILITY,)),
        ClientCall("set_runtime_capability_flags", (Operation.UPDATE_CAPABILITY,)),
        ClientCall("update_runtime_capability", (Operation.UPDATE_CAPABILITY,)),
        ClientCall("uninstall_runtime_capability", (Operation.REMOVE_CAPABILITY,)),
        ClientCall("get_runtime_capabilities_resolved", (Operation.RESOLVE_CAPABILITIES,)),
        ClientCall("get_user", ("get_user",), "The gateway's user, not the caller's."),
        ClientCall("list_user_organizations", ("list_organizations",), "Those that a provider of the gateway serves."),
        ClientCall("get_organization", ("get_organization",)),
        ClientCall(
            "list_organization_workspaces", ("list_workspaces",), "Those that a provider of the gateway serves."
        ),
        ClientCall("list_workspaces", ("list_workspaces",), "Those that a provider of the gateway serves."),
        ClientCall("get_workspace", ("get_workspace",)),
        ClientCall("list_projects", ("list_projects",)),
        ClientCall("get_default_project_key", ("list_projects",)),
        ClientCall("get_project", ("get_project",)),
        ClientCall("create_project", ("create_project",)),
        ClientCall("list_secrets", ("list_secrets",), "404 where the gateway has several durable accounts."),
        ClientCall("get_sandbox_logs", ("get_logs",)),
        *map(_forwarded, ("list_sandboxes", "get_sandbox", "list_sessions", "get_session", "list_capabilities")),
        ClientCall("*", note=f"Every method that has nothing to do with runtimes. {_RULES}", forward=("*",)),
    ),
    error_members=_ERRORS,
)

COMPATIBILITY: Final = (_COMMANDS, _LIBRARY)
"""The command line and the library."""
