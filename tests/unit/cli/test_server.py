"""The commands that run a server, and ``config`` and ``providers test``, with the application itself replaced."""

import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Literal

import pytest
from click.testing import CliRunner, Result
from ruamel.yaml import YAML

from gateway import __version__
from gateway.cli import cli
from gateway.domain.errors import ProviderCredentialsRejected
from gateway.ports.provider_settings import ProviderSettings

GOOD = """\
version: 1
auth: {keys: {ci: {key: 0123456789abcdef}}}
providers: {main: {api: red, base_url: http://red.test, token: t0ken}}
"""


class RedSettings(ProviderSettings):
    api: Literal["red"]


class FakeApp(ModuleType):
    """Replaces ``gateway.app`` and ``gateway.demo``: records the calls, and exits with 7."""

    def __init__(self) -> None:
        super().__init__("gateway.app")
        self.calls: list[tuple[str, Any]] = []
        self.error: OSError | None = None

    def plugins(self) -> Mapping[str, Any]:
        options = {"browser": "auto", "max_browsers": 8, "state": None}
        personalities = {"mood": ("calm", "wild")}
        return {"red": SimpleNamespace(api="red", personalities=personalities, emulator_options=options)}

    def provider_models(self) -> Mapping[str, type[ProviderSettings]]:
        return {"red": RedSettings}

    def dialect_eras(self) -> Mapping[str, frozenset[str]]:
        return {"red": frozenset({"dawn", "dusk"})}

    def run(self, settings: Any, source: Any = None, worker: Any = None) -> int:
        self.source, self.worker = source, worker
        return self._called("run", settings)

    def check_providers(self, settings: Any, names: Sequence[str] | None = None) -> list[Any]:
        rejected = ProviderCredentialsRejected("It says no.")
        return [
            SimpleNamespace(provider=name, seconds=0.25, error=rejected if "bad" in name else None)
            for name in names or settings.providers
        ]

    def run_demo(self, *, port: int, api_key: str | None, far_ends: Mapping[str, str], found: Any) -> int:
        self.found = found
        return self._called("run_demo", (port, api_key, far_ends))

    def run_emulator(
        self, api: str, *, host: str, port: int, token: str, personality: Mapping[str, str], options: Mapping[str, Any]
    ) -> int:
        return self._called("run_emulator", (api, host, port, token, personality, options))

    def openapi_document(self) -> dict[str, Any]:
        return {"openapi": "3.1.0"}

    def _called(self, name: str, arguments: Any) -> int:
        if self.error is not None:
            raise self.error
        self.calls.append((name, arguments))
        return 7


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> FakeApp:
    fake = FakeApp()
    monkeypatch.setitem(sys.modules, "gateway.app", fake)
    monkeypatch.setitem(sys.modules, "gateway.demo", fake)
    return fake


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text(GOOD)
    return path


def run(*arguments: str, env: Mapping[str, str] | None = None) -> Result:
    result = CliRunner().invoke(cli, list(arguments), env=env)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.parametrize(
    ("module", "name"),
    [
        *(
            ("gateway.app", name)
            for name in ("plugins", "provider_models", "dialect_eras", "run", "check_providers", "openapi_document")
        ),
        *(("gateway.demo", name) for name in ("run_demo", "run_emulator")),
    ],
)
def test_fake_application_has_the_signatures_of_the_real_one(module: str, name: str) -> None:
    def shape(function: Callable[..., Any]) -> list[tuple[str, Any]]:
        return [(p.name, p.kind) for p in inspect.signature(function).parameters.values()]

    assert shape(getattr(FakeApp(), name)) == shape(getattr(import_module(module), name))


def test_version_option_prints_the_package_version() -> None:
    assert run("--version").stdout == f"runtime-gateway {__version__}\n"


def test_serve_runs_with_the_settings_and_exits_with_the_result(app: FakeApp, file: Path) -> None:
    result = run("serve", "--config", str(file), "--listen", "127.0.0.1:9999", env={"RTGW_LOG__LEVEL": "debug"})
    assert result.exit_code == 7
    ((_, settings),) = app.calls
    assert (settings.http.listen, settings.log.level) == ("127.0.0.1:9999", "debug")
    assert app.source.load().settings.http.listen == "127.0.0.1:9999"  # flags override a reloaded file too


def test_worker_serves_at_the_addresses_of_its_place_with_its_share_of_the_bounds(app: FakeApp, file: Path) -> None:
    place = '{"number": 2, "channel": 7, "settings": {"http.listen": "127.0.0.1:9998"}}'
    arguments = ("serve", "--config", str(file), "--listen", "127.0.0.1:0", "--workers", "2", "--worker", place)
    assert run(*arguments).exit_code == 7
    ((_, settings),) = app.calls
    assert (settings.http.listen, settings.http.max_connections) == ("127.0.0.1:9998", 1000)
    assert (app.worker["number"], app.source.workers) == (2, 2)


@pytest.mark.parametrize("command", [("serve",), ("config", "check"), ("config", "show")])
def test_faulty_settings_exit_with_78_and_a_line_per_fault(app: FakeApp, file: Path, command: tuple[str, ...]) -> None:
    file.write_text(GOOD + "log: {level: loud}\nsurplus: 1\n")
    result = run(*command, "--config", str(file))
    assert (result.exit_code, result.stdout, app.calls) == (78, "", [])
    assert result.stderr.splitlines() == [
        f"error: log.level: input should be 'debug', 'info', 'warning' or 'error' ({file}:4)",
        f"error: surplus: there is no setting of this name ({file}:5)",
    ]


def test_public_address_without_keys_is_refused_in_one_line(app: FakeApp, file: Path) -> None:
    file.write_text(GOOD.replace("auth: {keys: {ci: {key: 0123456789abcdef}}}", "auth: none"))
    result = run("serve", "--config", str(file), "--listen", "0.0.0.0:8080")
    assert (result.exit_code, app.calls) == (78, [])
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: auth: none is for loopback addresses only")


def test_missing_file_is_a_fault_of_the_settings(app: FakeApp, tmp_path: Path) -> None:
    result = run("serve", "--config", str(tmp_path / "none.yaml"))
    assert result.exit_code == 78
    assert "cannot be read: No such file or directory" in result.stderr


@pytest.mark.parametrize("command", [("serve", "--config"), ("demo",), ("emulate", "red")])
def test_address_in_use_is_reported_in_one_line(app: FakeApp, file: Path, command: tuple[str, ...]) -> None:
    app.error = OSError(98, "address already in use")
    result = run(*command, *([str(file)] if command[0] == "serve" else []))
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: cannot_listen: ")


def test_check_of_valid_settings_prints_ok(app: FakeApp, file: Path) -> None:
    result = run("config", "check", "--config", str(file))
    assert (result.exit_code, result.stdout) == (0, f"{file}: ok, providers: main\n")
    assert json.loads(run("config", "check", "--config", str(file), "-o", "json").stdout)["ok"] is True


def test_check_prints_warnings_on_stderr_and_exits_with_0(app: FakeApp, file: Path) -> None:
    result = run("config", "check", "--config", str(file), "-o", "json", env={"RTGW_PORT": "tcp://10.0.0.1:80"})
    assert (result.exit_code, json.loads(result.stdout)["ok"]) == (0, True)
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("warning: environment: ")]
    assert "RTGW_PORT" in line


def test_check_as_json_prints_faults_on_stdout(app: FakeApp, file: Path) -> None:
    file.write_text(GOOD + "surplus: 1\n")
    result = run("config", "check", "--config", str(file), "-o", "json")
    assert result.exit_code == 78
    (problem,) = json.loads(result.stdout)["problems"]
    assert problem["path"] == "surplus"


@pytest.mark.parametrize("output", ["table", "json", "yaml"])
def test_show_prints_each_setting_with_its_origin_and_no_secret(app: FakeApp, file: Path, output: str) -> None:
    result = run("config", "show", "--config", str(file), "-o", output, env={"RTGW_LOG__LEVEL": "debug"})
    assert result.exit_code == 0
    assert "t0ken" not in result.output
    assert "0123456789abcdef" not in result.output
    if output == "table":
        rows = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines()}
    else:
        read = json.loads(result.stdout) if output == "json" else YAML(typ="safe", pure=True).load(result.stdout)
        rows = {item["setting"]: [item["value"], *item["origin"].split()] for item in read["items"]}
    assert rows["log.level"] == ["debug", "env", "RTGW_LOG__LEVEL"]
    assert rows["http.listen"] == ["127.0.0.1:8080", "default"]
    assert rows["providers.main.token"] == ["**********", f"{file}:3"]


def test_show_changed_leaves_out_the_defaults(app: FakeApp, file: Path) -> None:
    result = run("config", "show", "--config", str(file), "--changed", "-o", "json", env={"RTGW_LOG__LEVEL": "debug"})
    rows = {item["setting"]: item["origin"] for item in json.loads(result.stdout)["items"]}
    assert rows["log.level"] == "env RTGW_LOG__LEVEL"
    assert "default" not in rows.values()
    assert {"providers.main.token", "auth.keys.ci.key", "version"} < rows.keys() < set(rows) | {"http.listen"}


def test_schema_prints_the_schema_with_the_apis_of_the_application(app: FakeApp) -> None:
    schema = json.loads(run("config", "schema").stdout)
    assert schema["required"] == ["version", "auth", "providers"]
    assert "red" in json.dumps(schema["properties"]["providers"])


def test_demo_passes_its_options_to_the_application(app: FakeApp) -> None:
    assert run("demo").exit_code == 7
    assert run("demo", "--port", "0", "--api-key", "a-key-for-my-tests").exit_code == 7
    assert run("demo", "--browser", "none", "--runtime-server", "env serve").exit_code == 7
    assert [given for _, given in app.calls] == [
        (8080, None, {}),
        (0, "a-key-for-my-tests", {}),
        (8080, None, {"browser": "none", "runtime_server": "env serve"}),
    ]


def test_demo_key_that_a_gateway_would_reject_is_a_usage_error(app: FakeApp) -> None:
    assert run("demo", "--api-key", "short").exit_code == 2
    assert app.calls == []


def test_emulate_passes_its_options_to_the_application(app: FakeApp) -> None:
    arguments = ("--port", "0", "--token", "t", "--host", "::1", "--personality", "mood=wild")
    assert run("emulate", "red", *arguments).exit_code == 7
    assert app.calls == [("run_emulator", ("red", "::1", 0, "t", {"mood": "wild"}, {}))]


def test_emulate_passes_only_the_given_options_of_the_emulator(app: FakeApp) -> None:
    assert run("emulate", "red", "--browser", "none").exit_code == 7
    assert run("emulate", "red", "--max-browsers", "2").exit_code == 7
    assert run("emulate", "red", "--state", "red.json").exit_code == 7
    assert [arguments[-1] for _, arguments in app.calls] == [
        {"browser": "none"},
        {"max_browsers": 2},
        {"state": Path("red.json")},
    ]


def test_option_that_the_emulator_does_not_have_is_a_usage_error(app: FakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = SimpleNamespace(api="red", personalities={}, emulator_options={})
    monkeypatch.setattr(app, "plugins", lambda: {"red": plugin})
    result = run("emulate", "red", "--max-browsers", "2")
    assert (result.exit_code, app.calls) == (2, [])
    assert "--max-browsers" in result.stderr


@pytest.mark.parametrize("command", [("emulate", "red"), ("demo",)])
@pytest.mark.parametrize("option", ["--browser", "--runtime-server"])
def test_what_emulators_run_has_to_be_a_program(app: FakeApp, command: tuple[str, ...], option: str) -> None:
    result = run(*command, option, "/no/where")
    assert (result.exit_code, app.calls) == (2, [])
    assert "/no/where is not a program" in result.stderr


@pytest.mark.parametrize(
    "arguments", [(), ("green",), ("red", "--personality", "mood=sad"), ("red", "--personality", "x=y")]
)
def test_emulate_lists_the_available_choices_for_an_unknown_one(app: FakeApp, arguments: tuple[str, ...]) -> None:
    result = run("emulate", *arguments)
    assert (result.exit_code, app.calls) == (2, [])
    assert "red" in result.stderr


def test_config_check_reports_an_era_that_no_route_of_the_dialect_has(app: FakeApp, file: Path) -> None:
    file.write_text(GOOD + "dialects: {red: {routes: [{scope: one, provider: main, era: noon}]}}\n")
    result = run("config", "check", "--config", str(file))
    assert result.exit_code == 78
    assert "dialects.red.routes.0.era: this must be an era of the dialect, one of: dawn, dusk" in result.stderr


def test_openapi_prints_the_openapi_document(app: FakeApp) -> None:
    assert json.loads(run("openapi").stdout) == {"openapi": "3.1.0"}
    assert run("openapi", "-o", "yaml").stdout == "openapi: 3.1.0\n"


TWO = GOOD.replace("main:", "bad-one: {api: red, base_url: http://blue.test, token: t0ken}, main:")


@pytest.mark.parametrize("command", [("config", "check", "--online"), ("providers", "test", "bad-one")])
def test_credentials_that_a_provider_rejects_exit_with_4(app: FakeApp, file: Path, command: tuple[str, ...]) -> None:
    file.write_text(TWO)
    result = run(*command, "--config", str(file))
    assert result.exit_code == 4
    assert "bad-one" in result.stdout
    assert "provider_credentials_rejected" in result.stdout
    assert "t0ken" not in result.output


def test_config_check_online_reports_the_credentials_of_each_provider(app: FakeApp, file: Path) -> None:
    file.write_text(TWO)
    document = json.loads(run("config", "check", "--online", "--config", str(file), "-o", "json").stdout)
    assert (document["ok"], document["problems"]) == (False, [])
    reported = {item["provider"]: (item["ok"], item["code"]) for item in document["providers"]}
    assert reported == {"bad-one": (False, "provider_credentials_rejected"), "main": (True, None)}


def test_providers_test_calls_one_provider_of_a_file(app: FakeApp, file: Path) -> None:
    file.write_text(TWO)
    result = run("providers", "test", "main", "--config", str(file))
    assert result.exit_code == 0
    assert "bad-one" not in result.stdout
    assert run("providers", "test", "unknown", "--config", str(file)).exit_code == 2
    file.write_text("version: 1\n")
    assert run("providers", "test", "main", "--config", str(file)).exit_code == 78
