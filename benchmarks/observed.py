"""The gateway's command with a hook: upon SIGUSR2 the process counts its tasks, and its objects by type, and writes the
counts to the file that ``OBSERVED`` names. ``python -m benchmarks.observed serve …``"""

import asyncio
import gc
import json
import os
import signal
from collections import Counter
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Final

from gateway.__main__ import main

FILE: Final = "OBSERVED"
_numbers = count(1)


def write(_number: int, _frame: FrameType | None) -> None:
    """The handler. It runs in the thread of the event loop, between two of its steps."""
    gc.collect()
    kinds = Counter(type(each) for each in gc.get_objects())
    objects: Counter[str] = Counter()
    for kind, found in kinds.items():
        objects[f"{kind.__module__}.{kind.__qualname__}"] += found
    document = {"number": next(_numbers), "tasks": len(asyncio.all_tasks()), "objects": objects}
    file = Path(os.environ[FILE])
    part = file.with_suffix(".part")
    part.write_text(json.dumps(document))
    part.replace(file)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR2, write)
    main()
