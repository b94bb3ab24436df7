"""The console script ``runtime-gateway``, also ``python -m gateway``.

It takes the signals of a server first, because a signal in the first second would otherwise end the process. Then it
checks the installed packages before it imports the command line: if another distribution has replaced
``gateway/__init__.py``, that import fails with a traceback which does not say why.
"""

import gc
import os
import sys

from gateway.ports.process_signals import RELOAD, STOP, hold

SERVERS = {"serve": (*STOP, RELOAD), "demo": STOP, "emulate": STOP}
"""The commands that serve, and the signals that they react to."""

SETTINGS = 78  # as in gateway.cli.failures, which cannot be imported here


def main() -> None:
    """Run the command line and exit with its code; with 78 and one line on stderr if a package belongs to another
    distribution."""
    signals = SERVERS.get("".join(sys.argv[1:2]), ())
    hold(*signals)
    if signals:
        gc.disable()  # until gateway.app.serving.tune_gc: collections take a tenth of the time of the imports
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"  # those of other distributions would receive every secret
    from gateway.ports.distribution import AdapterFolderError, require_own_packages  # noqa: PLC0415 (after the signals)

    try:
        require_own_packages()
    except AdapterFolderError as error:
        sys.stderr.write(f"error: adapter_folder: {error}\n")
        sys.exit(SETTINGS)
    from gateway.cli import main as command_line  # noqa: PLC0415 (only after the check)

    command_line()


if __name__ == "__main__":
    main()
