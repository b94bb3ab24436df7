"""How the emulator starts Chromium: where it is, and its arguments."""

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FIXED: Final = (
    "--headless=new",
    "--remote-debugging-port=0",  # on loopback; the port is in PORT_FILE
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--password-store=basic",
)
_LISTENS: Final = re.compile(r"(\d+)\n(/devtools/browser/[\w-]+)")
PORT_FILE: Final = "DevToolsActivePort"
"""The file in the profile folder in which Chromium writes its port and the path of its WebSocket."""


def address_in(port_file: str) -> str | None:
    """The address of the browser's WebSocket; None while Chromium has not written the file to its end."""
    found = _LISTENS.match(port_file)
    return None if found is None else f"ws://127.0.0.1:{found[1]}{found[2]}"


def find(choice: str) -> str | None:
    """The executable for ``auto``, ``none`` or a path; None for no browser."""
    if choice == "none":
        return None
    return next(filter(None, map(shutil.which, _NAMES)), None) if choice == "auto" else choice


@dataclass(frozen=True, slots=True)
class Proxy:
    """The proxy of a browser, in the form of ``--proxy-server``."""

    server: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)


def proxy_of(given: Any) -> Proxy | None:
    """The proxy in a browser's settings; None without one, and for a saved or managed one, which only the provider
    has."""
    if isinstance(given, str):
        given = {"url": given}
    if not isinstance(given, Mapping):
        return None
    username, password = given.get("username"), given.get("password")
    if "url" in given:
        url = urlsplit(given["url"])
        if url.username is not None:
            username, password = unquote(url.username), unquote(url.password or "")
        return Proxy(f"{url.scheme}://{url.netloc.rpartition('@')[2]}", username, password)
    if "host" in given:
        return Proxy(f"{given['protocol']}://{given['host']}:{given['port']}", username, password)
    return None


def arguments(executable: str, folder: Path, config: Mapping[str, Any], *, as_root: bool) -> Sequence[str]:
    """The command for a browser with these settings and this profile folder."""
    command = [executable, *_FIXED, f"--user-data-dir={folder}"]
    if as_root:
        command.append("--no-sandbox")  # Chromium refuses to start as root with its sandbox
    if "viewport" in config:
        command.append(f"--window-size={config['viewport']['width']},{config['viewport']['height']}")
    if (proxy := proxy_of(config.get("proxy"))) is not None:
        # Without the second argument, requests to loopback addresses would not go through the proxy.
        command += [f"--proxy-server={proxy.server}", "--proxy-bypass-list=<-loopback>"]
    return [*command, "about:blank"]


def unsupported(config: Mapping[str, Any]) -> str | None:
    """What of a browser's settings the emulator accepts without effect, as a sentence for a warning; None for
    nothing."""
    found = []
    if config.get("extensions"):
        found.append(f"the extensions {', '.join(config['extensions'])}")
    if config.get("proxy") is not None and proxy_of(config["proxy"]) is None:
        found.append("its proxy, which is saved or managed")
    return f"Without effect in the emulator: {' and '.join(found)}." if found else None
