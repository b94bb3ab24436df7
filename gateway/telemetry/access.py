"""Log lines of changes of keys and principals. They contain names and ids, never the text of a key."""

from gateway.domain.access import Principal
from gateway.telemetry.logs import Event, Logger, log_bug


class AccessSignals:
    """Reports changes (an ``AccessObserver``) and faults in the background (a ``ReplicaObserver``)."""

    def __init__(self, logger: Logger) -> None:
        self._logger = logger

    def changed(self, action: str, by: Principal, principal: str, key_id: str | None = None) -> None:
        self._logger.info(
            Event.ACCESS_CHANGED, action=action, by=by.name, by_key=by.key_id, principal=principal, key_id=key_id
        )

    def failed(self, error: Exception) -> None:
        log_bug(self._logger, error, detail="keys and principals were not read again")
