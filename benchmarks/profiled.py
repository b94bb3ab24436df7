"""The gateway's command with a profiler for the thread of its event loop: SIGUSR1 starts it, SIGUSR2 stops it and
writes its statistics to the file that ``PROFILED`` names. ``python -m benchmarks.profiled serve …``"""

import cProfile
import os
import signal
from pathlib import Path
from typing import Final

from gateway.__main__ import main

FILE: Final = "PROFILED"


def install() -> None:
    """Install the handlers, which run in the thread of the event loop, between two of its steps."""
    profile = cProfile.Profile()

    def write() -> None:
        profile.disable()
        file = Path(os.environ[FILE])
        part = file.with_suffix(".part")
        profile.dump_stats(part)
        part.replace(file)

    signal.signal(signal.SIGUSR1, lambda *_: profile.enable())
    signal.signal(signal.SIGUSR2, lambda *_: write())


if __name__ == "__main__":
    install()
    main()
