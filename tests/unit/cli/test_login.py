"""``login`` and ``context``: which gateway and key a command uses, and where they are kept."""

import stat
from pathlib import Path

import pytest

from .conftest import KEY, Run, ScriptedGateway, page

NO_VARIABLES = {"RTGW_SERVER": "", "RTGW_API_KEY": ""}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings of the user" / "runtime-gateway" / "contexts.json"


def log_in(gateway: ScriptedGateway, run: Run, name: str, key: str = KEY) -> None:
    gateway.answers({"principal": "team-a"})
    result = run("login", "--server", gateway.url, "--name", name, stdin=f"{key}\n", env=NO_VARIABLES)
    assert (result.exit_code, result.stdout) == (0, "")
    assert key not in result.stderr


def keys_sent(gateway: ScriptedGateway) -> list[str | None]:
    return [seen.headers.get("Authorization") for seen in gateway.seen]


def test_login_keeps_the_key_for_its_user_only(gateway: ScriptedGateway, run: Run, file: Path) -> None:
    log_in(gateway, run, "prod")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    file.chmod(0o644)
    log_in(gateway, run, "prod")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in file.parent.iterdir()] == ["contexts.json"]
    gateway.answers(page())
    assert run("runtimes", "list", env=NO_VARIABLES).exit_code == 0
    assert keys_sent(gateway)[-1] == f"Bearer {KEY}"
    assert gateway.seen[0].path == "/v1/me"


def test_key_that_the_gateway_rejects_is_not_kept(gateway: ScriptedGateway, run: Run, file: Path) -> None:
    gateway.refuses(401, "unauthenticated")
    assert run("login", "--server", gateway.url, stdin="wrong\n", env=NO_VARIABLES).exit_code == 4
    assert run("login", "--server", gateway.url, stdin="\n", env=NO_VARIABLES).exit_code == 2
    assert run("login", "--server", gateway.url, stdin="two words\n", env=NO_VARIABLES).exit_code == 2
    assert not file.exists()


def test_context_is_named_after_its_host_by_default(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers({"principal": None})
    assert "as anyone" in run("login").stderr, "the key is that of the variable"
    assert run("context", "list", "-o", "name").stdout.strip() == gateway.url.removeprefix("http://")


def test_contexts_are_listed_without_keys_and_changed(gateway: ScriptedGateway, run: Run) -> None:
    log_in(gateway, run, "prod", "key-of-prod")
    log_in(gateway, run, "test", "key-of-test")
    listed = run("context", "list", "-o", "json").stdout
    assert "key-of" not in listed
    assert run("context", "list", "--query", "items[?current].name").stdout == "test\n"
    assert run("context", "use", "prod").exit_code == 0
    for chosen in ((), ("--context", "test")):
        gateway.answers(page())
        run("runtimes", "list", *chosen, env=NO_VARIABLES)
    assert keys_sent(gateway)[-2:] == ["Bearer key-of-prod", "Bearer key-of-test"]
    assert run("context", "remove", "prod").exit_code == 0
    assert run("context", "list", "-o", "name").stdout == "test\n"
    result = run("context", "use", "prod")
    assert (result.exit_code, "known: test" in result.stderr) == (2, True)


def test_flag_precedes_the_named_context_which_precedes_the_variables(gateway: ScriptedGateway, run: Run) -> None:
    log_in(gateway, run, "prod", "key-of-prod")
    variables = {"RTGW_SERVER": gateway.url, "RTGW_API_KEY": "key-of-the-variable"}
    for options in ((), ("--context", "prod"), ("--context", "prod", "--api-key", "key-of-the-flag")):
        gateway.answers(page())
        run("runtimes", "list", *options, env=variables)
    gateway.answers(page())
    run("runtimes", "list", env={**variables, "RTGW_CONTEXT": "prod"})
    sent = ["key-of-the-variable", "key-of-prod", "key-of-the-flag", "key-of-prod"]
    assert keys_sent(gateway)[1:] == [f"Bearer {key}" for key in sent]


def test_key_of_a_context_is_not_sent_to_another_server(gateway: ScriptedGateway, run: Run) -> None:
    log_in(gateway, run, "prod")
    gateway.answers(page())
    other = gateway.url.replace("127.0.0.1", "localhost")
    run("runtimes", "list", env={"RTGW_SERVER": other, "RTGW_API_KEY": ""})
    assert keys_sent(gateway)[-1] is None


@pytest.mark.parametrize("content", ["", "[]", '{"contexts": []}', "\udcff"])
def test_damaged_file_is_a_failure_that_names_it(run: Run, file: Path, content: str) -> None:
    file.parent.mkdir(parents=True)
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    result = run("runtimes", "list", env=NO_VARIABLES)
    assert result.exit_code == 1
    assert str(file) in result.stderr


def test_missing_key_is_named_with_the_ways_to_set_one(gateway: ScriptedGateway, run: Run) -> None:
    gateway.refuses(401, "unauthenticated")
    result = run("runtimes", "list", env={"RTGW_API_KEY": ""})
    assert result.exit_code == 4
    assert "no key is set: set RTGW_API_KEY, or run runtime-gateway login" in result.stderr
    gateway.refuses(401, "unauthenticated")
    assert "RTGW_API_KEY" not in run("runtimes", "list").stderr


@pytest.mark.parametrize("end", ["/", "/v1", "/v1/"])
def test_server_may_be_given_with_the_path_of_the_api(gateway: ScriptedGateway, run: Run, end: str) -> None:
    gateway.answers(page())
    assert run("runtimes", "list", env={"RTGW_SERVER": gateway.url + end}).exit_code == 0
    assert gateway.seen[0].path == "/v1/runtimes"


@pytest.mark.parametrize(
    ("variables", "preceding"),
    [
        ({}, []),
        ({"RTGW_SERVER": "http://other"}, ["RTGW_SERVER"]),
        ({"RTGW_SERVER": "http://other", "RTGW_API_KEY": "k"}, ["RTGW_SERVER", "RTGW_API_KEY"]),
        ({"RTGW_SERVER": "http://other", "RTGW_CONTEXT": "prod"}, []),
        ({"RTGW_SERVER": "http://other", "RTGW_CONTEXT": "test"}, ["RTGW_CONTEXT"]),
    ],
    ids=["none", "server", "server and key", "this context", "another context"],
)
def test_variables_that_precede_the_chosen_context_are_named(
    gateway: ScriptedGateway, run: Run, variables: dict[str, str], preceding: list[str]
) -> None:
    log_in(gateway, run, "test")
    log_in(gateway, run, "prod")
    result = run("context", "use", "prod", env={**NO_VARIABLES, **variables})
    said = [f"but {variable} is set, and precedes it" for variable in preceding]
    assert result.stderr.splitlines() == ["the context prod is used now", *said]
