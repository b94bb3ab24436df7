"""Checks whether the providers accept the credentials of a settings file, and prints the results."""

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from gateway.cli.failures import ExitCode
from gateway.cli.output import show_document, show_list, table
from gateway.cli.progress import progress

if TYPE_CHECKING:
    from gateway.settings import Settings

Result = Mapping[str, Any]

_REJECTED: Final = frozenset({"provider_credentials_rejected", "permission_denied"})
_COLUMNS: Final = table(
    "PROVIDER, API, CREDENTIALS, SECONDS, DETAIL",
    own={
        "CREDENTIALS": lambda item: "ok" if item["ok"] else item["code"],
        "SECONDS": lambda item: f"{item['seconds']:.3f}",
    },
)


def check_credentials(settings: "Settings", names: Sequence[str] | None = None) -> list[Result]:
    """Ask the named providers (all without ``names``), and return one result for each.

    ``code`` and ``detail`` are those of the problem, None when there is no problem; ``seconds`` is the time it took.
    """
    from gateway.app import check_providers

    with progress("asking the providers"):
        checks = check_providers(settings, names)
    return [
        {
            "provider": check.provider,
            "api": settings.providers[check.provider].api,
            "ok": check.error is None,
            "code": None if check.error is None else check.error.code,
            "detail": None if check.error is None else check.error.detail,
            "seconds": round(check.seconds, 3),
        }
        for check in checks
    ]


def print_checks(results: Sequence[Result], output: str) -> None:
    """Print the results. Exits with 4 if a provider rejects its credentials, with 1 if one cannot be checked."""
    ok = all(result["ok"] for result in results)
    if output == "table":
        show_list({"items": results}, output, _COLUMNS)
    else:
        show_document({"ok": ok, "problems": [], "providers": results}, output)
    if any(result["code"] in _REJECTED for result in results):
        sys.exit(ExitCode.AUTH)
    if not ok:
        sys.exit(ExitCode.FAILED)
