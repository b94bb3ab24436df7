"""The packages that only some settings need: they are extras of the distribution."""

from importlib.util import find_spec


def require_extra(extra: str, package: str) -> None:
    """Raise ``ValueError`` if the package of this extra is not installed. It is not imported."""
    if find_spec(package) is None:
        raise ValueError(f"{package} is not installed: install runtime-gateway[{extra}]")
