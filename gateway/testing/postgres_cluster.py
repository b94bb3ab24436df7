"""A throwaway PostgreSQL: a cluster of its own in a temporary folder, on a unix socket, gone at the end.

It flushes nothing to the disk, so it is for tests only. PostgreSQL refuses to run as root: root starts it as the user
``postgres``, or else ``nobody``.
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
    """The folder of PostgreSQL's programs, of the newest version where there are several; None when it is missing."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    versions = [path for path in _DEBIAN.glob("*/bin") if (path / "initdb").exists()]
    return max(versions, key=lambda path: float(path.parent.name), default=None)


class PostgresCluster:
    """A running cluster. Make one with :func:`postgres_cluster`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def dsn(self, database: str = "postgres") -> str:
        """The address of a database."""
        return f"postgresql://postgres@/{database}?host={self.folder}"


@contextmanager
def postgres_cluster() -> Iterator[PostgresCluster]:
    """Make a cluster, run it and remove it. Raises ``RuntimeError`` with what PostgreSQL said when it does not start,
    and when it is not installed."""
    programs = binaries()
    if programs is None:
        raise RuntimeError("PostgreSQL is not installed")
    # Not below a longer path: the name of a unix socket is 107 bytes long at most.
    with tempfile.TemporaryDirectory(prefix="rtgw-pg-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        owner = _owner()
        if owner is not None:
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        data = folder / "data"
        _run(owner, folder, programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        options = " ".join(f"-c {setting}={value or chr(39) * 2}" for setting, value in _SETTINGS.items())
        control = (programs / "pg_ctl", "-D", data, "-w")
        _run(owner, folder, *control, "-l", folder / "log", "-o", f"-k {folder} {options}", "start")
        try:
            yield PostgresCluster(folder)
        finally:
            _run(owner, folder, *control, "-m", "immediate", "stop")


def _owner() -> pwd.struct_passwd | None:
    """Who is to run it, when that is not who we are."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _run(owner: pwd.struct_passwd | None, folder: Path, *command: str | Path) -> None:
    result = subprocess.run(  # noqa: S603 (programs that were found, with arguments of ours)
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
        told = log.read_text("utf-8", "replace") if log.exists() else ""
        raise RuntimeError(f"{command[0]} failed: {result.stdout.decode(errors='replace')}{told}")
