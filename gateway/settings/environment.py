"""Settings from the environment: ``RTGW_HTTP__LISTEN`` is ``http.listen``; lists and mappings are given as JSON."""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.ports.provider_settings import ProviderSettings
from gateway.settings.document import Document, Path, Problems

PREFIX: Final = "RTGW_"
CLIENT_VARIABLES: Final = frozenset({"RTGW_SERVER", "RTGW_API_KEY", "RTGW_CONTEXT"})
"""Variables of the command line client; the server ignores them."""


def apply_environment(
    document: Document,
    environ: Mapping[str, str],
    provider_models: Mapping[str, type[ProviderSettings]],
    problems: Problems,
) -> list[str]:
    """Override the values of the file with the ``RTGW_…`` variables of ``environ``.

    Adds a problem for each variable that is not a setting, is ambiguous, or is not the JSON that it must be. Returns
    the variables that describe Services of Kubernetes, which are ignored.
    """
    named = [name for name in sorted(environ) if name.startswith(PREFIX) and name not in CLIENT_VARIABLES]
    service_links = [name for name in named if is_service_link(name, environ[name])]
    variables = {name: environ[name] for name in named if name not in service_links}
    if not variables:
        return service_links
    from gateway.settings.variables import meant, variable_values  # noqa: PLC0415 (takes time, and few have variables)

    for variable, values in variable_values(variables, PREFIX, provider_models):
        if values is None:
            problems.add((variable,), "is not valid JSON, which a setting with several values requires")
            continue
        if not values:
            problems.add((variable,), f"there is no setting of this name{meant(variable, PREFIX)}")
        for at, value in leaves(values):
            _put(document, at, value, variable, problems)
    return service_links


def leaves(values: Mapping[str, Any], at: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield the path and value of every setting; an empty mapping is a value."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*at, key))
        else:
            yield (*at, key), value


def _put(document: Document, at: Path, value: Any, variable: str, problems: Problems) -> None:
    section: Any = document.values
    path: Path = ()
    for depth, part in enumerate(at):
        names = [name for name in section if _folded(name) == _folded(part)]
        if len(names) > 1:
            problems.add((variable,), f"could mean {' or '.join('.'.join((*path, name)) for name in names)}")
            return
        name = names[0] if names else part.replace("_", "-") if path == ("providers",) else part
        path = (*path, name)
        document.origins.setdefault(path, f"env {variable}")
        if depth == len(at) - 1:
            document.origins[path] = f"env {variable}"
            section[name] = value
            return
        if not isinstance(section.get(name), dict):
            section[name] = {}
        section = section[name]


def _folded(name: str) -> str:
    """Return a name as a variable can express it: without case, and with ``_`` for ``-`` and ``.``."""
    return re.sub(r"[-.]", "_", name).lower()


_ENDPOINT: Final = re.compile(r"(?:tcp|udp|sctp)://\S+\Z")
_PROTOCOL: Final = re.compile(r"(?:tcp|udp|sctp)\Z")
_NUMBER: Final = re.compile(r"[0-9]{1,5}\Z")
_NAME: Final = re.compile(
    r"(?P<address>_SERVICE_HOST|_PORT_[0-9]+_(?:TCP|UDP|SCTP)_ADDR)\Z"
    r"|(?P<endpoint>_PORT|_PORT_[0-9]+_(?:TCP|UDP|SCTP))\Z"
    r"|(?P<protocol>_PORT_[0-9]+_(?:TCP|UDP|SCTP)_PROTO)\Z"
    r"|(?P<number>_SERVICE_PORT(?:_[A-Z0-9_]+)?|_PORT_[0-9]+_(?:TCP|UDP|SCTP)_PORT)\Z"
)


def is_service_link(variable: str, value: str) -> bool:
    """Return whether both the name and the value of a variable are those that Kubernetes, or a container link, adds for
    a Service. Those of a Service ``rtgw-…`` start with the prefix of the settings; the value distinguishes them from a
    misspelt setting such as ``RTGW_PORT=8080``, which is still a fault."""
    match = _NAME.search(variable)
    if match is None:
        return False
    if match["address"]:
        return _is_address(value)
    pattern = _ENDPOINT if match["endpoint"] else _PROTOCOL if match["protocol"] else _NUMBER
    return pattern.match(value) is not None


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
