"""The settings of calls by web pages of other origins (CORS)."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from gateway.ports.section import Section

_ORIGIN: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?\Z", re.ASCII
)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def _origin(text: str) -> str:
    """The origin as browsers send it: in lower case, without the default port of its scheme."""
    found = _ORIGIN.match(text.lower())
    if found is None or int(found["port"] or 0) > 65535:
        raise ValueError(
            "an origin must be scheme://host or scheme://host:port, such as https://app.example: no path, no *, and an "
            "international name in its ASCII form"
        )
    scheme, host, port = found["scheme"], found["host"], int(found["port"] or 0)
    return f"{scheme}://{host}" + (f":{port}" if port and port != _DEFAULT_PORTS.get(scheme) else "")


Origin = Annotated[str, AfterValidator(_origin)]


class CorsSettings(Section):
    """The ``origins`` whose pages may call the API and read its responses. A browser may keep the response to a
    preflight for ``max_age`` seconds."""

    origins: list[Origin] = []
    max_age: Annotated[int, Field(ge=0, le=86_400)] = 600
