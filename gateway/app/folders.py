"""The adapter folders, imported only after the check that the package ``adapters`` is this distribution's."""

from collections.abc import Mapping

from gateway.ports.distribution import require_own_packages
from gateway.ports.plugin import AdapterPlugin


def discover() -> Mapping[str, AdapterPlugin]:
    """The plugin of every adapter folder by the name of its API; found once per process.

    Raises :class:`AdapterFolderError` as ``adapters.registry.discover`` does, and for a package ``adapters`` of another
    distribution, of which nothing is executed.
    """
    require_own_packages()
    from adapters.registry import discover as found  # noqa: PLC0415 (only after the check)

    return found()
