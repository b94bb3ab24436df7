"""All faults of the settings are reported at once, each with its path and its origin."""

from pathlib import Path

import pytest

from gateway.settings import SettingsError, effective, load_settings

from .conftest import AUTH, GOOD, MODELS, PROVIDERS, Faults, Load

ADD_KEYS = "add auth.keys, or spell out auth: none"


def test_all_faults_of_all_sources_are_reported_together(faults: Faults) -> None:
    text = """\
version: 2
http:
  listen: nowhere
  max_body_bytes: lots
log: {level: loud}
surplus: 1
providers:
  Bad_Name: {api: red, base_url: http://red.test, token: t}
  a: {api: green, base_url: "ftp://red.test", token: t, tokn: 1}
  b: {api: red, token: "${UNSET}", base_url: http://red.test:99999, name: b}
  c: {api: red, base_url: http://red.test, token: file:missing, deadlines: {nap: 1, create: 0}}
"""
    environ = {"RTGW_HTTP__PORT": "1", "RTGW_SPEED": "9", "RTGW_SHUTDOWN__GRACE": "long", "RTGW_ADMIN": "x"}
    assert faults(text, environ) == {
        "version": "this gateway reads version 1 only (gateway.yaml:1)",
        "http.listen": "an address must be host:port or [IPv6]:port, such as 127.0.0.1:8080 (gateway.yaml:3)",
        "http.max_body_bytes": (
            "input should be a valid integer, unable to parse string as an integer (gateway.yaml:4)"
        ),
        "http.port": "there is no setting of this name (env RTGW_HTTP__PORT)",
        "log.level": "input should be 'debug', 'info', 'warning' or 'error' (gateway.yaml:5)",
        "surplus": "there is no setting of this name (gateway.yaml:6)",
        "shutdown.grace": (
            "input should be a valid number, unable to parse string as a number (env RTGW_SHUTDOWN__GRACE)"
        ),
        "RTGW_SPEED": "there is no setting of this name",
        "RTGW_ADMIN": "is not valid JSON, which a setting with several values requires",
        "auth": ADD_KEYS,
        "providers.Bad_Name": "a provider's name must be 1 to 40 characters of a-z, 0-9 and - (gateway.yaml:8)",
        "providers.a.api": "this must be the provider's API, one of: blue, red (gateway.yaml:9)",
        "providers.a.base_url": "the base URL starts with http:// or https:// and names a host (gateway.yaml:9)",
        "providers.b.token": "the environment variable UNSET is not set (gateway.yaml:10)",
        "providers.b.base_url": "the host or the port of the base URL cannot be read (gateway.yaml:10)",
        "providers.b.name": "the name of a provider is its key in providers; remove this (gateway.yaml:10)",
        "providers.c.token": "the file missing cannot be read: No such file or directory (gateway.yaml:11)",
        "providers.c.deadlines.create": "input should be greater than 0 (gateway.yaml:11)",
        "providers.c.deadlines.nap": faults(text)["providers.c.deadlines.nap"],
    }


@pytest.mark.parametrize(
    ("text", "path", "meant"),
    [
        ("htpp: {}", "htpp", "http"),
        ("http: {listne: '127.0.0.1:1'}", "http.listne", "listen"),
        ("http: {tls: {certs: a}}", "http.tls.certs", "cert"),
        ("log: {level: inof}", "log.level", "info"),
        ("log: {level: DEBUG}", "log.level", "debug"),
        ("dialects: {shades: {routes: [{scope: a, provider: mian}]}}", "dialects.shades.routes.0.provider", "main"),
        (
            "dialects: {shades: {routes: [{scope: a, provider: main, era: lihgt}]}}",
            "dialects.shades.routes.0.era",
            "light",
        ),
        ("dialects: {shades: {routes: [{scope: a, provider: main, ere: x}]}}", "dialects.shades.routes.0.ere", "era"),
    ],
)
def test_a_misspelt_name_or_value_is_reported_with_the_one_that_it_resembles(
    faults: Faults, text: str, path: str, meant: str
) -> None:
    (message,) = [message for at, message in faults(GOOD + text + "\n").items() if at == path]
    assert f"; did you mean {meant}? (gateway.yaml:4)" in message


@pytest.mark.parametrize(
    ("entry", "path", "meant"),
    [
        ("api: rde, base_url: 'http://h', token: t", "api", "red"),
        ("api: red, base_urll: 'http://h', token: t", "base_urll", "base_url"),
        ("api: red, base_url: 'http://h', token: t, policies: {retry: {budgt: 1}}", "policies.retry.budgt", "budget"),
        ("api: red, base_url: 'http://h', token: t, deadlines: {creat: 1}", "deadlines.creat", "create"),
    ],
)
def test_a_misspelt_setting_of_a_provider_is_reported_with_the_one_that_it_resembles(
    faults: Faults, entry: str, path: str, meant: str
) -> None:
    found = faults(f"version: 1\n{AUTH}providers: {{main: {{{entry}}}}}\n")
    assert f"did you mean {meant}?" in found[f"providers.main.{path}"]


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("RTGW_LOGLEVEL", "RTGW_LOG__LEVEL"),
        ("RTGW_HTP__LISTEN", "RTGW_HTTP__LISTEN"),
        ("RTGW_PROVIDER__MAIN__TOKEN", "RTGW_PROVIDERS__MAIN__TOKEN"),
        ("RTGW_SPEED", None),
    ],
)
def test_a_misspelt_variable_is_reported_with_the_one_that_it_resembles(
    faults: Faults, variable: str, meant: str | None
) -> None:
    end = "" if meant is None else f"; did you mean {meant}?"
    assert faults(GOOD, {variable: "1"}) == {variable: f"there is no setting of this name{end}"}


def test_faults_are_reported_in_the_order_of_the_file(faults: Faults) -> None:
    text = """\
providers:
  two: {api: red, base_url: http://red.test, token: t, order: 0}
  one: {api: red, base_url: nowhere, token: t}
surplus: 1
dialects: {shades: {routes: [{scope: a, provider: two}, {scope: "", provider: two}, {provider: two}]}}
http: {listen: nowhere}
version: 2
"""
    assert list(faults(text, {"RTGW_SPEED": "1", "RTGW_LOG__LEVEL": "loud"})) == [
        "providers.two.order",
        "providers.one.base_url",
        "surplus",
        "dialects.shades.routes.1.scope",
        "dialects.shades.routes.2.scope",
        "http.listen",
        "version",
        "log.level",
        "RTGW_SPEED",
        "auth",
    ]


def test_repeated_key_is_reported_with_both_lines(faults: Faults) -> None:
    found = faults(GOOD + "log: {level: info,\n  level: debug}\nversion: 1\n")
    assert found == {
        "log.level": "repeated in line 5; first given in line 4 (gateway.yaml:4)",
        "version": "repeated in line 6; first given in line 1 (gateway.yaml:1)",
    }


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("version: [1\nauth: 2", "gateway.yaml:2:5"),
        ("a: *nobody", "gateway.yaml:1:4"),
        ("a: 1\n---\nb: 2\n", "gateway.yaml:2:1"),
        ("a: \x01", "gateway.yaml"),
        ("- a list", "gateway.yaml:1"),
    ],
)
def test_file_that_is_not_one_yaml_mapping_is_reported_with_its_position(faults: Faults, text: str, path: str) -> None:
    assert list(faults(text)) == [path]


def test_variables_are_checked_even_if_the_file_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(tmp_path / "none.yaml", provider_models=MODELS, environ={"RTGW_NOPE": "1"})
    assert caught.value.problems == [
        (f"{tmp_path}/none.yaml", "cannot be read: No such file or directory"),
        ("RTGW_NOPE", "there is no setting of this name"),
    ]


def test_file_that_is_not_utf8_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_bytes(b"version: \xff")
    with pytest.raises(SettingsError, match="is not UTF-8 text"):
        load_settings(file, provider_models=MODELS, environ={})


def test_unsupported_yaml_is_reported_at_its_path(faults: Faults) -> None:
    found = faults(
        GOOD + "http: &h {listen: *h}\nlog: {<<: {level: info}}\nadmin: {listen: !!python/name:os.system x}\n"
        "shutdown: {[a]: 1, grace: !!int x}\n"
    )
    assert found == {
        "http.listen": "this alias refers to a value that contains the alias itself (gateway.yaml:4)",
        "log.<<": "a setting's name must be plain text; merge keys (<<) are not supported (gateway.yaml:5)",
        "admin.listen": "the value does not fit its YAML tag (gateway.yaml:6)",
        "shutdown.line 7": "a setting's name must be plain text; merge keys (<<) are not supported (gateway.yaml:7)",
        "shutdown.grace": "the value does not fit its YAML tag (gateway.yaml:7)",
    }


@pytest.mark.parametrize("auth", ["", "auth:\n", "auth: {}\n", "auth: {keys: {}}\n", "auth: {keys: }\n"])
def test_auth_without_keys_and_without_the_word_none_is_refused(faults: Faults, auth: str) -> None:
    (message,) = [message for path, message in faults("version: 1\n" + auth + PROVIDERS).items() if path == "auth"]
    assert message.startswith(ADD_KEYS)


@pytest.mark.parametrize("auth", ["auth: nobody\n", "auth: true\n", "auth: [none]\n"])
def test_auth_other_than_keys_or_none_is_refused(faults: Faults, auth: str) -> None:
    assert list(faults("version: 1\n" + auth + PROVIDERS)) == ["auth"]


@pytest.mark.parametrize("listen", ["0.0.0.0:80", "[::]:80", "gateway.internal:80", "10.0.0.1:80"])
def test_auth_none_is_refused_for_addresses_beyond_loopback(faults: Faults, listen: str) -> None:
    found = faults(f"version: 1\nauth: none\nhttp: {{listen: '{listen}'}}\n" + PROVIDERS)
    assert found == {
        "auth": f"none is for loopback addresses only, and http.listen is {listen}; add auth.keys (gateway.yaml:2)"
    }


def test_auth_none_is_refused_beyond_loopback_even_if_http_has_other_faults(faults: Faults) -> None:
    http = "http: {listen: '0.0.0.0:80', body_timeout: 0, colour: red}\n"
    found = faults("version: 1\nauth: none\n" + http + PROVIDERS)
    assert set(found) == {"auth", "http.body_timeout", "http.colour"}
    for http in ("http: {listen: nowhere}\n", "http: [1]\n", "http: {colour: red}\n"):
        assert len(faults("version: 1\nauth: none\n" + http + PROVIDERS)) == 1


def test_auth_none_is_refused_if_a_variable_sets_an_address_beyond_loopback(faults: Faults) -> None:
    found = faults("version: 1\nauth: none\n" + PROVIDERS, {"RTGW_HTTP__LISTEN": "0.0.0.0:80"})
    assert list(found) == ["auth"]


def test_key_that_is_short_unnamed_or_given_twice_is_refused(faults: Faults) -> None:
    sha256 = "a" * 64
    found = faults(
        "version: 1\nauth:\n  keys:\n"
        "    short: {key: too-short}\n"
        "    spaced: {key: 'sixteen and a space'}\n"
        f"    both: {{key: 0123456789abcdef, key_sha256: {sha256}}}\n"
        "    neither: {}\n"
        "    'a b': {key: 0123456789abcdef}\n"
        "    digest: {key_sha256: abc}\n" + PROVIDERS
    )
    assert set(found) == {
        "auth.keys.short.key",
        "auth.keys.spaced.key",
        "auth.keys.both",
        "auth.keys.neither",
        "auth.keys.a b",
        "auth.keys.digest.key_sha256",
    }


def test_two_names_with_one_key_are_refused_even_if_one_is_a_digest(faults: Faults) -> None:
    digest = "9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f"  # of 0123456789abcdef
    found = faults(
        "version: 1\n"
        f"auth: {{keys: {{a: {{key: 0123456789abcdef}}, b: {{key_sha256: {digest.upper()}}}}}}}\n" + PROVIDERS
    )
    assert found == {"auth.keys.b": "a has the same key; every name needs a key of its own (gateway.yaml:2)"}


def test_faults_of_principals_are_reported_together_each_with_its_path(faults: Faults) -> None:
    found = faults(
        "version: 1\nauth:\n  keys:\n"
        "    first: {key: [0123456789abcdef, too-short]}\n"
        "    none-listed: {key: []}\n"
        "    twice: {key: [fedcba9876543210, fedcba9876543210]}\n"
        "  principals:\n"
        "    empty: {keys: []}\n"
        "    empty-digests: {keys: [0123456789abcdee], keys_sha256: []}\n"
        "    neither: {}\n"
        "    digest: {keys_sha256: [abc]}\n"
        "    twice: {keys: [0123456789abcdf0]}\n"
        "    thief: {keys: [0123456789abcdf1, fedcba9876543210]}\n"
        "    a/b: {keys: [0123456789abcdf2]}\n" + PROVIDERS
    )
    assert set(found) == {
        "auth.keys.first.key.1",
        "auth.keys.none-listed.key",
        "auth.principals.empty.keys",
        "auth.principals.empty-digests.keys_sha256",
        "auth.principals.neither",
        "auth.principals.digest.keys_sha256.0",
        "auth.principals.twice",
        "auth.principals.thief",
        "auth.principals.a/b",
    }
    assert found["auth.principals.thief"].startswith("twice has the same key")
    assert found["auth.principals.twice"].startswith("auth.keys has a principal of the same name")


@pytest.mark.parametrize("providers", ["", "providers:\n", "providers: {}\n"])
def test_settings_without_a_provider_are_refused(faults: Faults, providers: str) -> None:
    (message,) = faults("version: 1\n" + AUTH + providers).values()
    assert message.startswith("at least one provider is needed")


def test_sections_of_the_wrong_type_are_reported(faults: Faults) -> None:
    found = faults("version: 1\n" + AUTH + "http: 8080\nproviders: {a: text}\nlog: [info]\n")
    assert found == {
        "http": "this must be a mapping of settings (gateway.yaml:3)",
        "log": "this must be a mapping of settings (gateway.yaml:5)",
        "providers.a": "this must be a mapping of settings (gateway.yaml:4)",
    }
    assert list(faults("version: 1\n" + AUTH + "providers: [a]\n")) == ["providers"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("scope: one", "scope: one"),
        ("scope: one", "scope: null"),
        ("scope: null", "scope: one"),
        ("scope: null", "scope: null"),
    ],
)
@pytest.mark.parametrize(
    "url",
    ["http://red.test", "http://RED.test:80/", "HTTP://red.test./v1/", "http://red.test/v1", "http://red.test/%76%31"],
)
def test_two_providers_with_one_account_and_scope_are_refused(
    faults: Faults, first: str, second: str, url: str
) -> None:
    found = faults(
        "version: 1\n" + AUTH + "providers:\n"
        f"  a: {{api: red, base_url: 'http://red.test', token: t, {first}}}\n"
        f"  b: {{api: red, base_url: '{url}', token: t, {second}}}\n"
    )
    assert list(found) == ["providers.b"]
    assert found["providers.b"].startswith("providers.a is the same account")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://127.0.0.1:9", "http://127.1:9"),
        ("http://127.0.0.1:9", "http://0x7f.0.0.1:9"),
        ("http://127.0.0.1", "http://2130706433"),
        ("http://127.0.0.1:9", "http://[::ffff:127.0.0.1]:9"),
        ("http://127.0.0.1:9", "http://LocalHost.:9/"),
        ("http://[::1]:9", "http://[0:0:0:0:0:0:0:1]:9/v1"),
        ("http://red.test/a-b/%c3%a9", "http://red.test/%61%2Db/%C3%A9"),
    ],
)
def test_two_spellings_of_one_address_are_one_account(faults: Faults, one: str, other: str) -> None:
    found = faults(
        "version: 1\n" + AUTH + "providers:\n"
        f"  a: {{api: red, base_url: '{one}', token: t, scope: one}}\n"
        f"  b: {{api: red, base_url: '{other}', token: t, scope: one}}\n"
    )
    assert list(found) == ["providers.b"]


@pytest.mark.parametrize(
    "other",
    [
        "api: red, base_url: 'http://red.test', token: t, scope: two",
        "api: red, base_url: 'http://red.test', token: other, scope: one",
        "api: red, base_url: 'http://red.test/eu', token: t, scope: one",
        "api: red, base_url: 'https://red.test', token: t, scope: one",
        "api: blue, base_url: 'http://red.test', token: t, scope: one",
    ],
)
def test_providers_that_differ_in_scope_or_account_are_accepted(load: Load, other: str) -> None:
    loaded = load(
        "version: 1\n" + AUTH + "providers:\n"
        "  a: {api: red, base_url: 'http://red.test', token: t, scope: one}\n"
        f"  b: {{{other}}}\n"
    )
    assert list(loaded.settings.providers) == ["a", "b"]


@pytest.mark.parametrize(
    "url",
    [
        "http://@red.test",
        "http://red.test?",
        "http://red.test/#",
        "http://red.test/a b",
        "http://red test",
        "http://red.test/\\\\x",
        "http://réd.test",
        "http://red.test:0",
        "http://red..test",
        "http://[fe80::1%25eth0]",
        "http://red.test/a/../b",
        "http://red.test/a/%2e%2E/b",
        "http://red.test/a/.%2e",
        "http://red.test/%zz",
        "http://red.test//v1",
    ],
)
def test_base_url_that_no_request_can_be_sent_to_is_refused(faults: Faults, url: str) -> None:
    assert list(faults(GOOD.replace("'http://red.test'", f'"{url}"'))) == ["providers.main.base_url"]


def test_route_to_an_unknown_provider_or_out_of_its_scope_is_refused(faults: Faults) -> None:
    text = (
        "version: 1\n"
        + AUTH
        + """\
providers:
  a: {api: red, base_url: http://red.test, token: t, scope: one}
  b: {api: red, base_url: http://other.test, token: t}
dialects:
  red:
    routes:
      - {scope: old, provider: nobody}
      - {scope: old, provider: a, target_scope: two}
      - {scope: old, provider: a, target_scope: one}
      - {scope: old, provider: a}
      - {scope: old, provider: b, target_scope: anything}
"""
    )
    found = faults(text)
    assert {path: message.partition(" (")[0] for path, message in found.items()} == {
        "dialects.red.routes.0.provider": "there is no provider nobody",
        "dialects.red.routes.1.target_scope": "the provider a is pinned to the scope one; a route cannot change it",
    }


def test_unset_variable_is_the_only_fault_reported_for_its_path(faults: Faults) -> None:
    providers = "providers:\n" + "".join(
        f"  {name}: {{api: red, base_url: '${{URL}}', token: '${{TOKEN}}'}}\n" for name in "ab"
    )
    assert faults("version: 1\n" + AUTH + providers) == {
        f"providers.{name}.{field}": f"the environment variable {variable} is not set (gateway.yaml:{line})"
        for name, line in (("a", 4), ("b", 5))
        for field, variable in (("base_url", "URL"), ("token", "TOKEN"))
    }


def test_admin_address_equal_to_the_api_address_is_refused(faults: Faults) -> None:
    assert list(faults(GOOD + "http: {listen: '127.0.0.1:1'}\nadmin: {listen: '127.0.0.1:1'}\n")) == ["admin.listen"]


def test_no_message_contains_a_secret(faults: Faults) -> None:
    secret = "s3cr3t value"
    found = faults(
        f"version: 1\nauth: {{keys: {{ci: {{key: '{secret}'}}}}}}\n"
        "providers:\n"
        f"  a: {{api: red, base_url: 'http://u:{secret}@h', token: '{secret}', passphrase: ['{secret}']}}\n",
        {"RTGW_AUTH__KEYS__OPS__KEY": secret, "RTGW_LOG": secret},
    )
    assert len(found) == 6
    assert secret not in str(found)


def test_unknown_eras_are_reported_with_all_other_faults(faults: Faults) -> None:
    text = (
        GOOD
        + """\
dialects:
  shades:
    routes:
      - {scope: one, provider: main, era: light}
      - {scope: one, provider: other, era: grey}
  plain:
    routes: [{scope: one, provider: main, era: light}]
  unknown:
    routes: [{scope: one, provider: main, era: light}, {scope: one, provider: main}]
"""
    )
    assert faults(text) == {
        "dialects.shades.routes.1.provider": "there is no provider other (gateway.yaml:8)",
        "dialects.shades.routes.1.era": "this must be an era of the dialect, one of: dark, light (gateway.yaml:8)",
        "dialects.plain.routes.0.era": "the dialect has no eras; remove this setting (gateway.yaml:10)",
        "dialects.unknown.routes.0.era": "the dialect has no eras; remove this setting (gateway.yaml:12)",
    }


def test_dialect_name_that_no_path_can_have_is_reported(faults: Faults) -> None:
    found = faults(GOOD + "dialects: {Shades!: {forward: [GET /x]}, plain_1: {}}\n")
    assert found == {
        "dialects.Shades!": "a dialect's name must be 1 to 40 characters of a-z, 0-9, _ and - (gateway.yaml:4)"
    }


def test_known_era_is_accepted(load: Load) -> None:
    route = "{scope: one, provider: main, era: dark}"
    loaded = load(GOOD + f"dialects: {{shades: {{routes: [{route}]}}}}\n")
    assert [route.era for route in loaded.settings.dialects["shades"].routes] == ["dark"]


@pytest.mark.parametrize(
    "origin",
    ["*", "null", "app.example", "https://app.example/", "https://app.example/x", "https://*.example", "https://",
     "https://app.example:99999", "https://user@app.example", "https://app.example?x", "https://bücher.example", ""],
)  # fmt: skip
def test_origin_that_is_no_scheme_host_and_port_is_refused(faults: Faults, origin: str) -> None:
    found = faults(GOOD + f"http: {{cors: {{origins: ['https://ok.example', '{origin}']}}}}\n")
    assert list(found) == ["http.cors.origins.1"]


def test_origins_are_read_as_browsers_send_them(load: Load) -> None:
    origins = ["https://App.Example:443", "http://localhost:80", "http://[::1]:5173", "capacitor://localhost"]
    read = load(GOOD + f"http: {{cors: {{origins: {origins}}}}}\n").settings.http.cors.origins
    assert read == ["https://app.example", "http://localhost", "http://[::1]:5173", "capacitor://localhost"]


@pytest.mark.parametrize(
    ("proxy", "accepted"),
    [
        ("http://proxy.test:3128", True),
        ("https://user:p%40ss@proxy.test", True),
        ("proxy.test:3128", False),
        ("socks5://proxy.test", False),
        ("http://", False),
        ("http://proxy.test:0", False),
        ("http://proxy.test:port", False),
        ("http://proxy.test/path", False),
    ],
)
def test_a_proxy_is_the_url_of_an_http_proxy(load: Load, faults: Faults, proxy: str, accepted: bool) -> None:
    text = GOOD.replace("token: t0ken", f"token: t0ken, proxy: '{proxy}'")
    if accepted:
        assert load(text).settings.providers["main"].proxy.get_secret_value() == proxy  # type: ignore[union-attr]
    else:
        (message,) = faults(text).values()
        assert message.startswith("the proxy must be http://")


def test_a_proxy_is_shown_as_a_secret(load: Load) -> None:
    text = GOOD.replace("token: t0ken", "token: t0ken, proxy: 'http://u:canary-password@proxy.test'")
    (shown,) = [each for each in effective(load(text)) if each.path == "providers.main.proxy"]
    assert shown.value == "**********"
