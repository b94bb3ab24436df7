"""A temporary PostgreSQL for tests: a cluster in a temporary folder, on a unix socket, removed at the end.

It does not flush to disk, so it is for tests only; the benchmarks ask for one that does. PostgreSQL refuses to run as
root, so root starts it as the user ``postgres``, or as ``nobody`` if that user does not exist.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_DEBIAN: Final = Path("/usr/lib/postgresql")
_SETTINGS: Final = {"listen_addresses": "", "fsync": "off", "full_page_writes": "off", "max_connections": "60"}


def binaries() -> Path | None:
    """The folder of PostgreSQL's programs, of the newest installed version; None if it is not installed."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    versions = [path for path in _DEBIAN.glob("*/bin") if (path / "initdb").exists()]
    return max(versions, key=lambda path: float(path.parent.name), default=None)


class PostgresCluster:
    """A running cluster. Start one with :func:`postgres_cluster`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def dsn(self, database: str = "postgres") -> str:
        """The URL of a database."""
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def create(self, database: str) -> None:
        """Create a database."""
        programs = binaries()
        assert programs is not None
        _run(_owner(), self.folder, programs / "createdb", "-h", self.folder, "-U", "postgres", database)


@contextmanager
def postgres_cluster(*, durable: bool = False) -> Iterator[PostgresCluster]:
    """Create a cluster, run it and remove it. One that is ``durable`` flushes each commit to disk. Raises
    ``RuntimeError`` if PostgreSQL is not installed, or if it does not start; then with PostgreSQL's output."""
    programs = binaries()
    if programs is None:
        raise RuntimeError("PostgreSQL is not installed")
    # Directly in /tmp, because the path of a unix socket is limited to 107 bytes.
    with tempfile.TemporaryDirectory(prefix="rtgw-pg-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        owner = _owner()
        if owner is not None:
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        data = folder / "data"
        _run(owner, folder, programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        settings = {**_SETTINGS, **({"fsync": "on", "full_page_writes": "on"} if durable else {})}
        options = " ".join(f"-c {setting}={value or chr(39) * 2}" for setting, value in settings.items())
        control = (programs / "pg_ctl", "-D", data, "-w")
        _run(owner, folder, *control, "-l", folder / "log", "-o", f"-k {folder} {options}", "start")
        try:
            yield PostgresCluster(folder)
        finally:
            _run(owner, folder, *control, "-m", "immediate", "stop")


def _owner() -> pwd.struct_passwd | None:
    """The user that runs the server; None: the current user."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _run(owner: pwd.struct_passwd | None, folder: Path, *command: str | Path) -> None:
    result = subprocess.run(
        command,
        check=False,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        user=None if owner is None else owner.pw_uid,
        group=None if owner is None else owner.pw_gid,
        extra_groups=None if owner is None else [],
        env={"PATH": os.defpath, "LC_ALL": "C", "HOME": str(folder)},
    )
    if result.returncode != 0:
        log = folder / "log"
        output = log.read_text("utf-8", "replace") if log.exists() else ""
        raise RuntimeError(f"{command[0]} failed: {result.stdout.decode(errors='replace')}{output}")
