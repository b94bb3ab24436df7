"""``runtimes apply`` and ``create -f`` with several documents: what they send, print and refuse."""

import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from gateway.cli.applying import creatable, differences, merged

from .conftest import ID, Run, ScriptedGateway, page, runtime

AGENT = "kind: durable\nname: research-agent\nconfig:\n  resources: {cpu_cores: 4}\n"
CONFIG = {
    "config": {"version": "v2", "resources": {"cpu_cores": 2, "memory_mb": 2048}, "metadata": {"labels": {}}},
    "config_digest": "d1",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "agent.yaml"
    path.write_text(AGENT)
    return path


def test_missing_runtime_is_created(gateway: ScriptedGateway, run: Run, file: Path) -> None:
    gateway.answers(page(runtime("stopped")))  # it does not hold the name any longer
    gateway.answers(runtime(created=True), 201)
    result = run("runtimes", "apply", "-f", str(file))
    assert (result.exit_code, result.stdout) == (0, "research-agent: created\n")
    _, sent = gateway.seen
    assert sent.body == {"kind": "durable", "name": "research-agent", "config": {"resources": {"cpu_cores": 4}}}
    assert sent.headers["Idempotency-Key"].startswith("cli-")


def test_differing_config_is_changed_where_the_file_has_a_value(gateway: ScriptedGateway, run: Run, file: Path) -> None:
    file.write_text(f"{AGENT}labels: {{team: shop}}\n")
    for answer in (page(runtime()), runtime(), CONFIG, CONFIG):
        gateway.answers(answer)
    result = run("runtimes", "apply", "-f", str(file))
    assert result.stdout.splitlines() == [
        "research-agent: config.resources.cpu_cores: 2 -> 4",
        "research-agent: config.metadata.labels.team: - -> shop",
        "research-agent: changed",
    ]
    put = gateway.seen[3]
    assert (put.method, put.path, put.headers["If-Match"]) == ("PUT", f"/v1/runtimes/{ID}/config", '"d1"')
    assert put.body == {
        "config": {
            "version": "v2",
            "resources": {"cpu_cores": 4, "memory_mb": 2048},
            "metadata": {"labels": {"team": "shop"}},
        }
    }


def test_equal_runtime_is_unchanged(gateway: ScriptedGateway, run: Run, file: Path) -> None:
    file.write_text(AGENT.replace("4", "2"))
    for answer in (page(runtime()), runtime(), CONFIG):
        gateway.answers(answer)
    assert run("runtimes", "apply", "-f", str(file)).stdout == "research-agent: unchanged\n"
    assert {seen.method for seen in gateway.seen} == {"GET"}


def test_dry_run_shows_the_differences_and_changes_nothing(gateway: ScriptedGateway, run: Run, file: Path) -> None:
    file.write_text(f"{AGENT}---\nkind: browser\nname: other\n")
    for answer in (page(runtime()), runtime(), CONFIG, page()):
        gateway.answers(answer)
    result = run("runtimes", "apply", "-f", str(file), "--dry-run")
    assert result.stdout.splitlines() == [
        "research-agent: config.resources.cpu_cores: 2 -> 4",
        "research-agent: changed (dry run)",
        "other: created (dry run)",
    ]
    assert {seen.method for seen in gateway.seen} == {"GET"}


def test_field_that_cannot_be_changed_fails_and_the_others_are_applied(
    gateway: ScriptedGateway, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "a.json").write_text(
        '{"kind": "browser", "name": "one", "driver": "selenium", "launch": {"mode": "x"}}'
    )
    (tmp_path / "b.yml").write_text("kind: browser\nname: two\n")
    (tmp_path / "readme.txt").write_text("not a document")
    browser = runtime(kind="browser", name="one", browser={"driver": "playwright", "launch": None})
    gateway.answers(page(browser))
    gateway.answers(browser)
    gateway.answers(page())
    gateway.answers(runtime(created=True), 201)
    result = run("runtimes", "apply", "-f", str(tmp_path))
    assert result.exit_code == 1
    assert result.stdout.splitlines() == ["one: driver: playwright -> selenium", "two: created"]
    assert result.stderr == "error: one: cannot_be_changed: an existing runtime keeps its driver\n"


def test_secrets_are_not_shown_as_differences(gateway: ScriptedGateway, run: Run, file: Path) -> None:
    file.write_text(f"{AGENT.replace('4', '2')}  runtime_server: {{env: {{TOKEN: new-secret}}}}\n")
    config = {**CONFIG, "config": {**CONFIG["config"], "runtime_server": {"env": {"TOKEN": "old-secret"}}}}
    for answer in (page(runtime()), runtime(), config, config):
        gateway.answers(answer)
    result = run("runtimes", "apply", "-f", str(file))
    assert "config.runtime_server.env.TOKEN: *** -> ***" in result.stdout
    assert "secret" not in result.output


@pytest.mark.parametrize(
    ("present", "wanted"),
    [
        ({}, "runtime_server: {env: {TOKEN: new-secret}}"),
        ({"runtime_server": {"env": {"TOKEN": "old-secret"}}}, "runtime_server: null"),
        ({"extra": [{"password": "old-secret"}]}, "extra: [{password: new-secret}]"),
    ],
    ids=["absent before", "absent after", "in a list"],
)
def test_secrets_inside_a_difference_are_not_shown(
    gateway: ScriptedGateway, run: Run, file: Path, present: dict[str, Any], wanted: str
) -> None:
    file.write_text(f"{AGENT.replace('4', '2')}  {wanted}\n")
    config = {**CONFIG, "config": {**CONFIG["config"], **present}}
    for answer in (page(runtime()), runtime(), config, config):
        gateway.answers(answer)
    result = run("runtimes", "apply", "-f", str(file))
    assert ": *** -> ***" in result.stdout
    assert "secret" not in result.output


def test_empty_members_of_a_document_are_left_out(gateway: ScriptedGateway, run: Run, file: Path) -> None:
    file.write_text("kind: durable\nname: research-agent\nconfig:\nprovider:\n")
    for answer in (page(runtime()), runtime(), CONFIG):
        gateway.answers(answer)
    result = run("runtimes", "apply", "-f", str(file))
    assert (result.exit_code, result.stdout) == (0, "research-agent: unchanged\n")


def test_name_of_several_runtimes_is_not_applied(gateway: ScriptedGateway, run: Run, file: Path) -> None:
    file.write_text(f"{AGENT}provider: p\nscope: s\n")
    gateway.answers(page(runtime(), runtime(id="p.2")))
    assert run("runtimes", "apply", "-f", str(file)).exit_code == 1
    assert sorted(gateway.seen[0].query) == [
        *(("kind", "durable"), ("limit", "100"), ("name", "research-agent"), ("provider", "p"), ("scope", "s"))
    ]


@pytest.mark.parametrize(
    "text", ["", "[1]", "kind: durable\n", "name: x\n", "a: [", "kind: durable\nname: a\n---\n- 1\n"]
)
def test_unusable_document_is_a_usage_error_before_anything_is_sent(
    gateway: ScriptedGateway, run: Run, file: Path, text: str
) -> None:
    file.write_text(text)
    assert run("runtimes", "apply", "-f", str(file)).exit_code == 2
    assert run("runtimes", "apply", "-f", str(file.parent / "missing.yaml")).exit_code == 2
    assert gateway.seen == []


def test_folder_without_a_document_is_a_usage_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert run("runtimes", "apply", "-f", str(tmp_path / "empty")).exit_code == 2


def test_printed_runtime_is_created_without_what_is_only_read(gateway: ScriptedGateway, run: Run) -> None:
    durable = {"project": {"id": "p-1", "key": "shop"}, "config_digest": "d1"}
    gateway.answers(runtime(durable=durable))
    gateway.answers(CONFIG)
    printed = run("runtimes", "get", ID, "-o", "yaml").stdout
    gateway.answers(runtime(created=True), 201)
    result = run("runtimes", "create", "-f", "-", "--name", "copy", stdin=printed)
    assert gateway.seen[2].body == {
        "kind": "durable",
        "name": "copy",
        "provider": "durable-demo",
        "scope": "acme/research",
        "labels": {"team": "shop"},
        "project": "shop",
        "config": CONFIG["config"],
    }
    assert result.stderr == (
        "left out, because it is empty or only read: actions, created_at, id, state, state_reason\n"
    )


def test_config_that_cannot_be_read_is_noted(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(runtime())
    gateway.refuses(403, "permission_denied")
    result = run("runtimes", "get", ID, "-o", "yaml")
    assert result.exit_code == 0
    assert result.stderr == "without its config: permission_denied: the detail of permission_denied\n"
    assert "config" not in YAML(typ="safe", pure=True).load(result.stdout)


def test_every_item_of_a_printed_list_is_created(gateway: ScriptedGateway, run: Run) -> None:
    items = [runtime(kind="browser", name=name, labels=None, browser={"launch": {"proxy": None}}) for name in "ab"]
    for item in items:
        gateway.answers(item, 201)
    result = run("runtimes", "create", "-f", "-", "-o", "json", stdin=json.dumps(page(*items)))
    assert [seen.body["name"] for seen in gateway.seen] == ["a", "b"]
    assert "launch" not in gateway.seen[0].body
    assert len(json.loads(result.stdout)["items"]) == 2
    several = run("runtimes", "create", "-f", "-", "--name", "c", stdin=json.dumps(page(*items)))
    assert several.exit_code == 2


def test_missing_password_of_a_proxy_is_noted(capsys: pytest.CaptureFixture[str]) -> None:
    proxy = {"type": "http", "host": "proxy.example", "port": 1, "username": None}
    body = creatable(runtime(kind="browser", browser={"launch": {"mode": "ephemeral", "proxy": proxy}}))
    assert body["launch"] == {"mode": "ephemeral", "proxy": {"type": "http", "host": "proxy.example", "port": 1}}
    assert "launch.proxy.password" in capsys.readouterr().err


def test_differences_are_those_of_the_wanted_members() -> None:
    present: dict[str, Any] = {"a": {"b": 1, "c": [1]}, "d": None}
    assert list(differences({"a": {"c": [1]}, "d": {}}, present)) == []
    assert list(differences({"a": {"b": 2}, "e": False}, present)) == [(("a", "b"), 1, 2), (("e",), None, False)]
    assert merged(present, {"a": {"b": 2}, "d": 3}) == {"a": {"b": 2, "c": [1]}, "d": 3}


def test_character_that_json_escapes_in_two_halves_is_one(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(runtime(), 201)
    run("runtimes", "create", "-f", "-", stdin='{"kind": "browser", "labels": {"a": "\\ud83d\\ude00"}}')
    assert gateway.seen[0].body["labels"] == {"a": "\U0001f600"}


def test_member_that_occurs_twice_is_refused_with_its_line(gateway: ScriptedGateway, run: Run) -> None:
    result = run("runtimes", "create", "-f", "-", stdin='{"kind": "browser",\n"name": "a",\n"name": "b"}')
    assert (result.exit_code, gateway.seen) == (2, [])
    assert "duplicate key" in result.stderr
    assert "line 3" in result.stderr
