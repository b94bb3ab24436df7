"""The arguments of the emulator's Chromium."""

from pathlib import Path
from typing import Any

import pytest

from adapters.bctrl_browsers.emulator.chromium import Proxy, address_in, arguments, find, proxy_of, unsupported

FOLDER = Path("/profiles/br_1")


def command(as_root: bool = False, **config: Any) -> list[str]:
    return list(arguments("/usr/bin/chromium", FOLDER, config, as_root=as_root))


def test_browser_is_headless_on_a_free_port_with_its_own_profile():
    made = command()
    assert made[0] == "/usr/bin/chromium"
    assert made[-1] == "about:blank"
    assert {"--headless=new", "--remote-debugging-port=0", "--disable-dev-shm-usage"} <= set(made)
    assert f"--user-data-dir={FOLDER}" in made
    assert not [argument for argument in made if "remote-debugging-address" in argument]


def test_only_root_runs_without_the_sandbox():
    assert "--no-sandbox" not in command()
    assert "--no-sandbox" in command(as_root=True)


def test_viewport_is_the_size_of_the_window():
    assert "--window-size=800,600" in command(viewport={"width": 800, "height": 600})


@pytest.mark.parametrize(
    ("given", "proxy"),
    [
        ("http://proxy.test:3128", Proxy("http://proxy.test:3128")),
        ("socks5://a%40b:p%3Aw@proxy.test:1080", Proxy("socks5://proxy.test:1080", "a@b", "p:w")),
        (
            {"type": "custom", "protocol": "http", "host": "p.test", "port": 1, "username": "u", "password": "p"},
            Proxy("http://p.test:1", "u", "p"),
        ),
        ({"url": "http://p.test:1", "username": "u", "password": "p"}, Proxy("http://p.test:1", "u", "p")),
        ({"url": "http://v:w@p.test:1", "username": "u"}, Proxy("http://p.test:1", "v", "w")),
        ({"id": "px_1"}, None),
        ({"type": "managed-rotating"}, None),
        (None, None),
    ],
)
def test_proxy_of_every_form_is_passed_without_its_credentials(given: Any, proxy: Proxy | None):
    assert proxy_of(given) == proxy
    passed = [argument for argument in command(proxy=given) if "proxy" in argument]
    assert passed == ([] if proxy is None else [f"--proxy-server={proxy.server}", "--proxy-bypass-list=<-loopback>"])


def test_password_of_a_proxy_is_in_no_representation():
    assert "secret" not in repr(proxy_of("http://u:secret@p.test:1"))


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({}, None),
        ({"extensions": []}, None),
        ({"proxy": "http://p.test:1"}, None),
        ({"extensions": ["one", "two"]}, "Without effect in the emulator: the extensions one, two."),
        ({"proxy": {"id": "px_1"}}, "Without effect in the emulator: its proxy, which is saved or managed."),
    ],
)
def test_settings_without_effect_are_named(config: dict[str, Any], sentence: str | None):
    assert unsupported(config) == sentence


@pytest.mark.parametrize("text", ["", "4711", "4711\n", "4711\n/devtools/"])
def test_port_file_that_is_not_complete_has_no_address(text: str):
    assert address_in(text) is None


def test_port_file_has_the_address_of_the_browser():
    assert address_in("4711\n/devtools/browser/b-1\n") == "ws://127.0.0.1:4711/devtools/browser/b-1"


def test_executable_is_chosen_by_path_or_searched_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find("auto") is None
    program = tmp_path / "chromium"
    program.write_text("#!/bin/sh\n")
    assert find("auto") is None
    program.chmod(0o755)
    assert find("auto") == find(str(program)) == str(program)
    assert find("none") is None
