"""The settings of the audit trail."""

from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from gateway.ports.section import Section
from gateway.settings.allow import DURATION
from gateway.settings.store import StoreSettings

_BESIDE: Final = "runtime-gateway.audit"


class AuditSettings(Section):
    """``retention`` is how long the store keeps audit events. ``journal`` is the folder of the events that are not in
    the store yet, of at most ``journal_max_bytes``; None: beside the store, as ``FILE.audit``."""

    retention: Annotated[int, DURATION, Field(ge=3600, le=3660 * 86400)] = 90 * 86400
    journal: Path | None = None
    journal_max_bytes: Annotated[int, Field(ge=1 << 20, le=1 << 40)] = 256 << 20

    def folder(self, store: StoreSettings, base: Path = Path()) -> Path:
        """The folder of the journal. A relative path starts at ``base``."""
        default = Path(_BESIDE) if store.file is None else store.file.with_name(f"{store.file.name}.audit")
        return base / (self.journal or default)
