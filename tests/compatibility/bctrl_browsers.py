"""What the dialect serves to the provider's own clients (PyPI ``bctrl``) of the current and of the flat era."""

from typing import Final

from adapters.bctrl_browsers.dialect import current as dialect_current
from adapters.bctrl_browsers.dialect import flat as dialect_flat
from tests.compatibility import Client, ClientCall, Compatibility

_FIRST: Final = "bctrl-0.1.0"
_FLAT_URL: Final = (
    '`base_url="http://HOST/bctrl"`, or `BCTRL_BASE_URL`, or `BCTRL_API_BASE_URL`; a trailing `/v1` is accepted'
)
_FLAT_KEY: Final = "`api_key=`, or `BCTRL_API_KEY`"
_CURRENT_URL: Final = '`base_url="http://HOST/bctrl"`, without `/v1`; no environment variable is read'
_CURRENT_KEY: Final = "`token=`; no environment variable is read"
_NO_ROUTE: Final = "404 `route.not_found`"
_RULES: Final = f"{_NO_ROUTE}, unless rules of your own forward it."
_REFUSED_MEMBERS: Final = (
    "`profile: false`, `config.fingerprint`, `config.idleTimeoutSeconds` and the values of `config.stealth` of "
    "June 2026 are refused."
)


def _forwarded(name: str) -> ClientCall:
    """A call that the presets contain."""
    note = f"{_NO_ROUTE}, unless `dialects.bctrl.forward` has `browsing`, or for reads `reads`."
    return ClientCall(name, note=note, forward=("reads", "browsing"))


_FLAT: Final = Compatibility(
    title="Flat era: `/v1/runtimes`",
    era=dialect_flat.ERA,
    clients=(
        Client("`bctrl` 0.1.0, 0.1.1", _FIRST, _FLAT_URL, _FLAT_KEY),
        Client("`bctrl` 0.1.2 to 0.1.5", "bctrl-0.1.5", _FLAT_URL, _FLAT_KEY),
        Client("`bctrl.legacy` of 0.3.0", "bctrl-0.3.0", _FLAT_URL, _FLAT_KEY),
    ),
    calls=(
        ClientCall(
            "runtimes.create",
            ("runtimes_create",),
            "Launches the browser at once, with or without `start`; `start: false` is refused. Also, "
            + _REFUSED_MEMBERS,
        ),
        ClientCall("spaces.runtimes.create", ("runtimes_create",), "As `runtimes.create`.", only=(_FIRST,)),
        ClientCall(
            "runtimes.started_browser",
            ("runtimes_create", "runtimes_start", "runtimes_stop"),
            "Its members are those of `create`. There is no `web_mcp_url`.",
        ),
        ClientCall("runtimes.list", ("runtimes_list",), "`include=archived` is refused."),
        ClientCall("runtimes.iter", ("runtimes_list",), "As `list`."),
        ClientCall("runtimes.get", ("runtimes_get",)),
        ClientCall("runtimes.update", ("runtimes_update",), "As with `create`, " + _REFUSED_MEMBERS),
        ClientCall(
            "runtimes.start",
            ("runtimes_start",),
            "A `recording` that differs from the runtime's setting is refused: `update` the runtime.",
        ),
        ClientCall("runtimes.stop", ("runtimes_stop",)),
        ClientCall("runtimes.delete", ("runtimes_delete",)),
        ClientCall("runtimes.files.*", note=_NO_ROUTE, only=(_FIRST,)),
        ClientCall("runtimes.invocations.*", note=_NO_ROUTE, only=(_FIRST,)),
        ClientCall("runtimes.runs.*", note=_NO_ROUTE, only=(_FIRST,)),
        ClientCall("runtimes.targets.*", note=_NO_ROUTE, only=(_FIRST,)),
        ClientCall("*", note=f"Every other resource (`runs`, `spaces`, `files`, …): {_NO_ROUTE}."),
    ),
    error_members=("code", "reasonClass"),
)

_CURRENT: Final = Compatibility(
    title="Current era: `/v1/browsers`",
    era=dialect_current.ERA,
    clients=(
        Client("`Bctrl` of `bctrl` 0.3.0", "bctrl-0.3.0", _CURRENT_URL, _CURRENT_KEY),
        Client("`AsyncBctrl` of `bctrl` 0.3.0", "bctrl-0.3.0", _CURRENT_URL, _CURRENT_KEY),
    ),
    calls=(
        ClientCall("browsers.create", ("browsers_create",), "`wait` is shortened to fit the deadline."),
        ClientCall("browsers.list", ("browsers_list",)),
        ClientCall("browsers.get", ("browsers_get",)),
        ClientCall("browsers.update", ("browsers_update",)),
        ClientCall("browsers.start", ("browsers_start",)),
        ClientCall("browsers.stop", ("browsers_stop",), "`wait` is shortened to fit the deadline."),
        ClientCall("browsers.delete", ("browsers_delete",)),
        ClientCall("browsers.connections.revoke", ("browsers_revoke",)),
        _forwarded("browsers.fetch*"),
        _forwarded("browsers.pages.*"),
        _forwarded("browsers.computer.*"),
        ClientCall("browsers.control.*", note=_RULES, forward=("*",)),
        _forwarded("browsers.files.*"),
        _forwarded("browsers.recording.*"),
        _forwarded("browsers.runs.*"),
        *map(_forwarded, ("spaces.*", "runs.*", "proxies.*", "usage.*")),
        ClientCall("*", note=f"Every other resource (`sandboxes`, `agents`, `tasks`, …). {_RULES}", forward=("*",)),
    ),
    error_members=("error.code", "error.reasonClass"),
)

COMPATIBILITY: Final = (_FLAT, _CURRENT)
"""Both eras."""
