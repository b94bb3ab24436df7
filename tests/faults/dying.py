"""A gateway that kills itself with SIGKILL at an exact point: ``python -m tests.faults.dying POINT serve …``.

``before:METHOD`` is right before a call of the store's method, ``after:METHOD`` right after it, when it is committed.
"""

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from gateway.__main__ import main
from gateway.storage.sql_store import SqlStore


def arm(point: str) -> None:
    """Make this process kill itself at the point."""
    when, _, method = point.partition(":")
    call: Callable[..., Awaitable[Any]] = getattr(SqlStore, method)

    async def deadly(*arguments: Any, **options: Any) -> Any:
        if when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        await call(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(SqlStore, method, deadly)


if __name__ == "__main__":
    arm(sys.argv.pop(1))
    main()
