"""Log lines of moves. They contain ids and codes, never what a runtime holds."""

from gateway.ports.moves import StoredItem, StoredMove
from gateway.telemetry.logs import Event, Logger, log_bug


class MoveSignals:
    """Reports how moves and their items change."""

    def __init__(self, logger: Logger) -> None:
        self._logger = logger

    def changed(self, move: StoredMove) -> None:
        """The mover has changed the state of a move."""
        self._logger.info(Event.MOVE_CHANGED, move=move.id, state=move.state.value)

    def item(self, item: StoredItem, problem: str | None) -> None:
        """A runtime was switched, or brought back, or could not be. ``problem`` is the code of the error."""
        log = self._logger.info if problem is None else self._logger.warning
        log(
            Event.RUNTIME_MOVED,
            move=item.move_id,
            runtime_id=item.runtime_id,
            state=item.state.value,
            target_id=item.target_runtime_id,
            code=problem,
        )

    def failed(self, error: Exception) -> None:
        """The work on a move ended because of a bug in the gateway."""
        log_bug(self._logger, error, detail="a move was interrupted")
