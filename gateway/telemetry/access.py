"""Log lines of changes of keys and principals, and of the keys of issuers. They contain names and ids, never the text
of a key or token."""

from gateway.domain.access import Principal
from gateway.telemetry.logs import Event, Logger, log_bug
from gateway.telemetry.metrics import Metrics


class AccessSignals:
    """Reports changes of keys and principals, fetches of key sets, and bugs in the background."""

    def __init__(self, logger: Logger, metrics: Metrics) -> None:
        self._logger = logger
        self._fetches = metrics.key_set_fetches
        self._key_sets: dict[str, tuple[int | None, str | None]] = {}

    def changed(self, action: str, by: Principal, principal: str, key_id: str | None = None) -> None:
        """``by`` changed a key or principal."""
        self._logger.info(
            Event.ACCESS_CHANGED, action=action, by=by.name, by_key=by.key_id, principal=principal, key_id=key_id
        )

    def key_set_fetched(self, issuer: str, keys: int | None, problem: str | None) -> None:
        """A fetch has ended: ``keys`` of the issuer's keys are usable, or there was a problem. Logged if the result
        differs from the last one."""
        self._fetches.labels(issuer, "ok" if problem is None else "failed").inc()
        if self._key_sets.get(issuer) != (keys, problem):
            self._key_sets[issuer] = keys, problem
            log = self._logger.info if keys else self._logger.warning
            log(Event.KEY_SET, issuer=issuer, keys=keys, detail=problem)

    def failed(self, error: Exception) -> None:
        log_bug(self._logger, error, detail="access data was not read again")
