"""The settings of how the process lives: reading them anew, looking after the providers, and ending."""

from typing import Annotated

from pydantic import Field

from gateway.settings.section import Section


class ReloadSettings(Section):
    """Reading the settings anew without a restart, on SIGHUP and, with ``watch``, within ``every`` seconds after the
    file or one that it names has changed."""

    watch: bool = True
    every: Annotated[float, Field(ge=0.05, le=3600)] = 5


class HealthSettings(Section):
    """Whether to ask each provider if it answers and takes the gateway's credentials: at the start, after a change of
    its settings, and every ``every`` seconds, for at most ``timeout`` seconds."""

    probe: bool = True
    every: Annotated[float, Field(ge=0.05, le=3600)] = 30
    timeout: Annotated[float, Field(gt=0, le=60)] = 5


class ShutdownSettings(Section):
    """How the gateway ends after SIGTERM: it is not ready at once, but accepts connections for ``delay`` seconds more;
    requests in flight then get ``grace`` seconds."""

    delay: Annotated[float, Field(ge=0, le=600)] = 0
    grace: Annotated[float, Field(ge=0, le=600)] = 30
