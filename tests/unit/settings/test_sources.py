"""The sources of values: the file, the environment, secret files, flags."""

from hashlib import sha256
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from gateway.domain.values import Operation
from gateway.settings import AuthSettings, Settings, effective

from .conftest import AUTH, GOOD, PROVIDERS, Faults, Load, RedSettings


def test_omitted_settings_have_their_defaults(load: Load) -> None:
    settings = load(GOOD).settings
    assert settings.http.listen == "127.0.0.1:8080"
    assert settings.admin.address is None
    assert settings.log.format == "json"
    assert settings.shutdown.grace == 30


def test_empty_section_has_its_defaults(load: Load) -> None:
    assert load(GOOD + "http:\nlog: {}\n").settings == load(GOOD).settings


@pytest.mark.parametrize(("written", "read"), [("false", False), ("off", False), ("true", True), ("", True)])
def test_setting_in_no_section_has_the_value_of_the_file(load: Load, written: str, read: bool) -> None:
    assert load(GOOD + f"console: {written}\n").settings.console is read
    assert load(GOOD, {"RTGW_CONSOLE": "false"}).settings.console is False


@pytest.mark.parametrize("written", ["maybe", "[]", "2"])
def test_setting_in_no_section_with_a_wrong_value_is_refused(faults: Faults, written: str) -> None:
    assert "boolean" in faults(GOOD + f"console: {written}\n")["console"]


def test_provider_has_the_model_of_its_api_and_its_key_as_name(load: Load) -> None:
    provider = load(GOOD).settings.providers["main"]
    assert isinstance(provider, RedSettings)
    assert (provider.name, provider.token.get_secret_value()) == ("main", "t0ken")


def names_of(auth: AuthSettings) -> dict[bytes, str]:
    return {digest: principal.name for digest, principal in auth.principals_by_digest().items()}


def test_keys_are_found_by_their_digest(load: Load) -> None:
    auth = load(GOOD).settings.auth
    assert isinstance(auth, AuthSettings)
    assert names_of(auth) == {sha256(b"0123456789abcdef-ci").digest(): "ci"}


def test_every_key_of_a_principal_is_found_by_its_digest(load: Load, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("key-in-a-file-0123\n")
    texts = (
        "new-key-0123456789",
        "key-in-a-file-0123",
        "hashed-key-0123456",
        "one-of-a-list-0123",
        "two-of-a-list-0123",
    )
    digests = [sha256(text.encode()).digest() for text in texts]
    auth = load(
        "version: 1\nauth:\n  principals:\n"
        f"    shop: {{keys: [{texts[0]}, 'file:key'], keys_sha256: [{digests[2].hex().upper()}]}}\n"
        f"  keys:\n    ops: {{key: [{texts[3]}, {texts[4]}]}}\n" + PROVIDERS
    ).settings.auth
    assert isinstance(auth, AuthSettings)
    assert names_of(auth) == {digest: "ops" if index > 2 else "shop" for index, digest in enumerate(digests)}


@pytest.mark.parametrize("text", ["1234567890123456", '"0123456789abcdef"', "1.0000000000000000"])
def test_key_in_a_variable_that_is_also_json_stays_as_written(load: Load, text: str) -> None:
    auth = load(GOOD, {"RTGW_AUTH__KEYS__CI__KEY": text}).settings.auth
    assert isinstance(auth, AuthSettings)
    assert list(auth.principals_by_digest()) == [sha256(text.encode()).digest()]


@pytest.mark.parametrize("variable", ["RTGW_AUTH__KEYS__CI__KEY", "RTGW_AUTH__PRINCIPALS__SHOP__KEYS"])
def test_keys_can_be_a_list_in_a_variable(load: Load, variable: str) -> None:
    auth = load(GOOD, {variable: '["1234567890123456", "abcdef0123456789"]'}).settings.auth
    assert isinstance(auth, AuthSettings)
    assert {
        sha256(text).digest() for text in (b"1234567890123456", b"abcdef0123456789")
    } <= auth.principals_by_digest().keys()


def test_auth_none_is_allowed_on_loopback(load: Load) -> None:
    assert load("version: 1\nauth: none\n" + PROVIDERS).settings.auth == "none"


@pytest.mark.parametrize(
    ("written", "environ", "read"),
    [
        ("${A}", {"A": "x"}, "x"),
        ("a-${A}-${B}", {"A": "x", "B": "y"}, "a-x-y"),
        ("${A}", {"A": "${B}"}, "${B}"),
        ("${A:-d}", {}, "d"),
        ("${A:-d}", {"A": ""}, "d"),
        ("${A:-d}", {"A": "x"}, "x"),
        ("${A:-}z", {}, "z"),
        ("$${A}", {}, "${A}"),
        ("$A-$", {"A": "x"}, "$A-$"),
    ],
)
def test_references_to_variables_are_replaced(load: Load, written: str, environ: dict[str, str], read: str) -> None:
    loaded = load(f"version: 1\n{AUTH}providers: {{a: {{api: red, base_url: http://h, token: '{written}'}}}}", environ)
    assert loaded.settings.providers["a"].token.get_secret_value() == read


@pytest.mark.parametrize("written", ["${", "${}", "${1A}", "${A", "${A:x}", "${A-x}"])
def test_malformed_reference_is_an_error(faults: Faults, written: str) -> None:
    found = faults(GOOD + f"log: {{level: '{written}'}}", {"A": "x"})
    assert found == {
        "log.level": "a reference must be ${NAME} or ${NAME:-default}; write $${ for a literal ${ (gateway.yaml:4)"
    }


def test_number_may_come_from_a_variable(load: Load) -> None:
    assert load(GOOD + "shutdown: {grace: '${GRACE}'}", {"GRACE": "12.5"}).settings.shutdown.grace == 12.5


def test_secret_is_read_from_a_file_without_its_final_newline(load: Load, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-a-file\n")
    (tmp_path / "key").write_text("0123456789abcdef\r\n")
    loaded = load(
        f"version: 1\nauth: {{keys: {{ci: {{key: 'file:{tmp_path}/key'}}}}}}\n"
        "providers: {a: {api: red, base_url: http://h, token: file:token, passphrase: file:token}}"
    )
    provider = loaded.settings.providers["a"]
    assert isinstance(provider, RedSettings)
    assert provider.token.get_secret_value() == "from-a-file"
    assert provider.passphrase is not None
    assert provider.passphrase.get_secret_value() == "from-a-file"
    assert isinstance(loaded.settings.auth, AuthSettings)
    assert isinstance(loaded.settings.auth.keys["ci"].key, SecretStr)
    assert loaded.settings.auth.keys["ci"].key.get_secret_value() == "0123456789abcdef"


def test_only_secrets_are_read_from_files(load: Load) -> None:
    loaded = load(GOOD.replace("scope: one", "scope: 'file:x', shades: ['file:y']"))
    provider = loaded.settings.providers["main"]
    assert isinstance(provider, RedSettings)
    assert (provider.scope, provider.shades) == ("file:x", ["file:y"])


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"\xff\xfe", "it is not UTF-8 text"), (b"x" * 70_000, "is larger than 65536 bytes"), (b"a\nb", "the token")],
)
def test_unusable_secret_file_is_an_error(faults: Faults, tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "token").write_bytes(content)
    found = faults(GOOD.replace("t0ken", "file:token"))
    assert list(found) == ["providers.main.token"]
    assert reason in found["providers.main.token"]


def test_variables_override_the_file_and_flags_override_both(load: Load) -> None:
    text = GOOD + "log: {level: error}\nhttp: {listen: 127.0.0.1:1, body_timeout: 5}\n"
    environ = {"RTGW_LOG__LEVEL": "debug", "RTGW_HTTP__LISTEN": "127.0.0.1:2", "PATH": "/bin"}
    settings = load(text, environ, {"http.listen": "127.0.0.1:3"}).settings
    assert settings.log.level == "debug"
    assert str(settings.http.address) == "127.0.0.1:3"
    assert settings.http.body_timeout == 5


def test_variables_match_names_without_case_and_punctuation(load: Load) -> None:
    text = (
        "version: 1\nauth: {keys: {CI.bot: {key: 0123456789abcdef}}}\n"
        "providers: {my-red: {api: red, base_url: http://h, deadlines: {get: 2}}}\n"
    )
    loaded = load(
        text,
        {
            "RTGW_PROVIDERS__MY_RED__TOKEN": "123456",
            "RTGW_PROVIDERS__MY_RED__DEADLINES__CREATE": "7",
            "RTGW_PROVIDERS__MY_RED__SHADES": '["dark", "light"]',
            "RTGW_AUTH__KEYS__CI_BOT__KEY": "fedcba9876543210",
            "RTGW_AUTH__KEYS__OPS__KEY": "another-key-for-ops",
        },
    )
    provider = loaded.settings.providers["my-red"]
    assert isinstance(provider, RedSettings)
    assert provider.token.get_secret_value() == "123456"
    assert provider.deadlines == {Operation.GET: 2, Operation.CREATE: 7}
    assert provider.shades == ["dark", "light"]
    assert isinstance(loaded.settings.auth, AuthSettings)
    assert set(loaded.settings.auth.keys) == {"CI.bot", "ops"}
    assert isinstance(loaded.settings.auth.keys["CI.bot"].key, SecretStr)
    assert loaded.settings.auth.keys["CI.bot"].key.get_secret_value() == "fedcba9876543210"


def test_whole_provider_and_the_word_none_can_come_from_variables(load: Load) -> None:
    loaded = load(
        "version: 1\n",
        {
            "RTGW_AUTH": "none",
            "RTGW_PROVIDERS__MY_RED__API": "red",
            "RTGW_PROVIDERS__MY_RED__BASE_URL": "http://h",
            "RTGW_PROVIDERS__MY_RED__TOKEN": "t",
        },
    )
    assert loaded.settings.auth == "none"
    assert list(loaded.settings.providers) == ["my-red"]


def test_ambiguous_variable_is_an_error(faults: Faults) -> None:
    text = "version: 1\nauth: {keys: {a.b: {key: 0123456789abcdef}, a-b: {key: fedcba9876543210}}}\n" + PROVIDERS
    assert faults(text, {"RTGW_AUTH__KEYS__A_B__KEY": "0000000000000000"}) == {
        "RTGW_AUTH__KEYS__A_B__KEY": "could mean auth.keys.a.b or auth.keys.a-b"
    }


def test_variables_of_the_client_are_ignored(load: Load) -> None:
    environ = {"RTGW_SERVER": "http://h", "RTGW_API_KEY": "x", "RTGW_CONTEXT": "prod"}
    assert load(GOOD, environ).settings == load(GOOD).settings


def service_links(prefix: str, address: str = "10.0.0.1") -> dict[str, str]:
    """The variables that Kubernetes adds for one Service with two ports."""
    return {
        f"{prefix}_SERVICE_HOST": address,
        f"{prefix}_SERVICE_PORT": "8080",
        f"{prefix}_SERVICE_PORT_HTTP_API": "8080",
        f"{prefix}_PORT": "tcp://10.0.0.1:8080",
        f"{prefix}_PORT_8080_TCP": "tcp://10.0.0.1:8080",
        f"{prefix}_PORT_8080_TCP_ADDR": address,
        f"{prefix}_PORT_8080_TCP_PORT": "8080",
        f"{prefix}_PORT_8080_TCP_PROTO": "tcp",
        f"{prefix}_PORT_53_UDP": "udp://[fd00::1]:53",
        f"{prefix}_PORT_53_UDP_PROTO": "udp",
    }


@pytest.mark.parametrize("prefix", ["RTGW", "RTGW_HTTP", "RTGW_AUTH", "RTGW_SERVER", "RTGW__HTTP"])
def test_variables_of_kubernetes_services_are_ignored_with_one_warning(load: Load, prefix: str) -> None:
    environ = service_links(prefix) | service_links("RTGW_V6", "fd00::1")
    loaded = load(GOOD, {**environ, "RTGW_LOG__LEVEL": "debug"})
    assert loaded.settings.log.level == "debug"
    (warning,) = [warning for warning in loaded.warnings if warning.path == "environment"]
    assert all(f"{name}," in warning.message or f"{name};" in warning.message for name in environ)


def test_misspelt_setting_in_a_variable_is_not_taken_for_a_service(faults: Faults) -> None:
    environ = {"RTGW_PORT": "8080", "RTGW_SERVICE_HOST": "all", "RTGW_LISTEN_PORT_X": "1", "RTGW_VERBOSE": "1"}
    assert faults(GOOD, environ) == dict.fromkeys(environ, "there is no setting of this name")


def test_provider_whose_name_ends_as_a_service_variable_can_be_set(load: Load) -> None:
    one = '{"api": "red", "base_url": "http://h", "token": "t"}'
    assert "my-port" in load(GOOD, {"RTGW_PROVIDERS__MY_PORT": one}).settings.providers


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("http://red.test", True),
        ("http://10.0.0.1/v1", True),
        ("https://red.test", False),
        ("http://127.0.0.2:81", False),
        ("http://[::1]", False),
        ("http://localhost:81/v1", False),
    ],
)
def test_plain_http_beyond_loopback_is_a_warning(load: Load, url: str, *, warned: bool) -> None:
    warnings = load(GOOD.replace("http://red.test", url)).warnings
    assert [warning.path for warning in warnings] == ["providers.main.base_url"] * warned


def test_every_effective_setting_has_its_origin_and_no_secret(load: Load, tmp_path: Path) -> None:
    loaded = load(GOOD, {"RTGW_LOG__LEVEL": "debug"}, {"http.listen": "127.0.0.1:3"})
    shown = {setting.path: (setting.value, setting.origin) for setting in effective(loaded)}
    file = tmp_path / "gateway.yaml"
    assert shown["http.listen"] == ("127.0.0.1:3", "flag")
    assert shown["log.level"] == ("debug", "env RTGW_LOG__LEVEL")
    assert shown["log.format"] == ("json", "default")
    assert shown["auth.keys.ci.key"] == ("**********", f"{file}:2")
    assert shown["providers.main.token"] == ("**********", f"{file}:3")
    assert shown["providers.main.passphrase"] == (None, "default")
    assert shown["providers.main.deadlines"] == ({}, "default")
    assert "providers.main.name" not in shown
    for text in (str(shown), repr(loaded), str(loaded.settings.model_dump(mode="json"))):
        assert "t0ken" not in text
        assert "0123456789abcdef" not in text


def test_effective_names_without_an_order_are_sorted(load: Load) -> None:
    scopes = ["runtimes:read", "native", "runtimes:create", "audit", "runtimes:config"]
    auth = f"auth:\n  principals:\n    ci: {{keys: [0123456789abcdef], scopes: [{', '.join(scopes)}]}}\n"
    shown = {setting.path: setting.value for setting in effective(load("version: 1\n" + auth + PROVIDERS))}
    assert shown["auth.principals.ci.scopes"] == sorted(scopes)


def test_settings_made_in_code_follow_the_same_rules(load: Load) -> None:
    settings = load("version: 1\nauth: none\n" + PROVIDERS).settings
    with pytest.raises(ValidationError, match="auth: none is for loopback addresses only"):
        Settings.model_validate({**dict(settings), "http": {"listen": "0.0.0.0:80"}})
