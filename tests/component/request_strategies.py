"""Strategies for the fields of create requests of the unified API, with and without each optional field."""

from typing import Any

from hypothesis import strategies as st

UUIDS = st.uuids().map(str)
TEXT = st.text(max_size=20)
SOME = st.text(min_size=1, max_size=20)
MAP = st.dictionaries(SOME, TEXT, max_size=3)


def some_of(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with any subset of these members."""
    return st.fixed_dictionaries({}, optional=fields)


def null_or(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


TARGETS = st.sampled_from(["a.test", "*.A.test", "10.0.0.0/8", "::1", "tcp://a.test:443"])
CAPABILITY = st.fixed_dictionaries({"name": SOME}, optional={"version": null_or(SOME), "enabled": st.booleans()})
CONFIG = some_of(
    version=st.just("v2"),
    build=some_of(
        profile=SOME,
        provider=st.sampled_from(["auto", "docker", "e2b"]),
        source=some_of(kind=SOME, ref=SOME),
        cache=st.booleans(),
    ),
    capabilities=st.lists(CAPABILITY, max_size=3),
    defaults=some_of(agent=null_or(SOME), capability=null_or(SOME), model=null_or(SOME), system_prompt=null_or(TEXT)),
    metadata=some_of(labels=MAP),
    resources=some_of(cpu_cores=st.integers(1, 32), memory_mb=st.integers()),
    runtime_server=some_of(env=MAP),
    sandbox=some_of(
        exposed_ports=st.lists(st.integers(1, 65535), max_size=3),
        timeout_seconds=null_or(st.integers()),
        workspace_mount=st.booleans(),
        egress=null_or(st.fixed_dictionaries({"allow": st.lists(TARGETS, max_size=3)})),
    ),
    secrets=some_of(secret_ids=st.lists(UUIDS, max_size=2)),
    unknown_member=st.lists(st.none() | st.integers() | TEXT, max_size=2),
)
DURABLE = some_of(
    display_name=st.text(min_size=1, max_size=100),
    description=st.text(max_size=500),
    project=null_or(st.sampled_from(["shop", "blog"])),
    runtime_limit_seconds=st.integers(min_value=60),
    labels=MAP,
    config=null_or(CONFIG),
)
PROXY = st.fixed_dictionaries(
    {"type": st.sampled_from(["http", "socks5"]), "host": TEXT, "port": st.integers(1, 65535)},
    optional={"username": TEXT, "password": TEXT},
)
EPHEMERAL = st.fixed_dictionaries(
    {"mode": st.just("ephemeral")},
    optional={
        "extension_ids": st.lists(TEXT, max_size=3),
        "humanize": st.booleans(),
        "humanize_persona_id": st.integers(),
        "solve_captchas": st.booleans(),
        "proxy": null_or(PROXY),
    },
)
PROFILE = st.fixed_dictionaries({"mode": st.just("profile"), "profile_id": UUIDS})
BROWSER = some_of(
    driver=st.sampled_from(["puppeteer", "playwright", "selenium", "stagehand"]), launch=PROFILE | EPHEMERAL
)
