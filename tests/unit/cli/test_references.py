"""Names where ids are accepted, several runtimes in one command, and selection by labels."""

import json
from typing import Any

import pytest
from aiohttp import web

from .conftest import ID, Reply, Run, ScriptedGateway, page, runtime

OTHER = "durable-main.7d0c5a4e-93b1-4f0a-8c62-5e1b2a9f6d34"
MISSING = {"provider": "sick", "problem": {"code": "provider_timeout", "detail": "too slow"}}


def paths(gateway: ScriptedGateway) -> list[tuple[str, str]]:
    return [(seen.method, seen.path.removeprefix("/v1/")) for seen in gateway.seen]


def of_path(*answers: dict[str, Any]) -> list[Reply]:
    """Answers to requests that are sent at once: each gets the one whose id is in its path, of which one can be an
    error."""

    def reply(request: web.Request) -> web.Response:
        answer = next(each for each in answers if each["id"] in request.path)
        if "code" not in answer:
            return web.json_response(answer)
        return web.json_response(answer, status=answer["status"], content_type="application/problem+json")

    return [reply] * len(answers)


CONFLICT: dict[str, Any] = {
    "id": OTHER,
    "status": 409,
    "code": "state_conflict",
    "detail": "works from: running",
    "request_id": "r-2",
}


def no_content(_: web.Request) -> web.Response:
    return web.Response(status=204)


@pytest.mark.parametrize(
    ("arguments", "last"),
    [
        (("get", "research-agent"), ("GET", "")),
        (("start", "research-agent"), ("POST", "/start")),
        (("keepalive", "research-agent"), ("POST", "/keepalive")),
        (("config", "get", "research-agent"), ("GET", "/config")),
        (("capabilities", "install", "research-agent", "web-search"), ("POST", "/capabilities")),
    ],
    ids=lambda value: value[0],
)
def test_name_is_looked_up_and_the_id_is_used(
    gateway: ScriptedGateway, run: Run, arguments: tuple[str, ...], last: tuple[str, str]
) -> None:
    gateway.answers(page(runtime()))
    gateway.answers(runtime())
    assert run("runtimes", *arguments).exit_code == 0
    assert ("name", "research-agent") in gateway.seen[0].query
    assert paths(gateway) == [("GET", "runtimes"), (last[0], f"runtimes/{ID}{last[1]}")]


def test_name_of_several_runtimes_ends_with_2_and_the_candidates(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(page(runtime(), runtime(id=OTHER, provider="durable-main", state="running")))
    result = run("runtimes", "stop", "research-agent")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        "error: ambiguous_name: 2 runtimes have the name research-agent: use the id of one of them",
        f"  {ID}  idle  durable-demo",
        f"  {OTHER}  running  durable-main",
    ]


def test_runtime_that_holds_the_name_precedes_those_that_have_ended(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(page(runtime("stopped", id=OTHER), runtime(), runtime("failed", id=f"{OTHER}0")))
    gateway.answers(runtime())
    assert run("runtimes", "get", "research-agent", "-o", "name").stdout == f"{ID}\n"


def test_unknown_name_is_not_found(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(page())
    result = run("runtimes", "get", "nothing")
    assert (result.exit_code, result.stderr) == (
        1,
        "error: not_found: there is no runtime with the id or name nothing\n",
    )


def test_text_in_the_form_of_an_id_is_tried_as_an_id_before_it_is_a_name(gateway: ScriptedGateway, run: Run) -> None:
    gateway.refuses(404, "not_found")
    gateway.answers(page(runtime(name="web.v2")))
    gateway.answers(runtime(name="web.v2"))
    assert run("runtimes", "get", "web.v2", "-o", "name").stdout == f"{ID}\n"
    gateway.refuses(404, "not_found")
    gateway.refuses(403, "permission_denied")
    assert run("runtimes", "get", "web.v2").stderr.startswith("error: not_found: "), "the lookup is not the error"


def test_name_is_used_for_a_change_only_if_every_provider_was_searched(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(page(runtime(), incomplete=(MISSING,)))
    result = run("runtimes", "stop", "research-agent")
    assert (result.exit_code, len(gateway.seen)) == (3, 1)
    assert "sick cannot be searched for the name research-agent now" in result.stderr
    gateway.answers(page(runtime(), incomplete=(MISSING,)))
    gateway.answers(runtime())
    assert run("runtimes", "get", "research-agent").exit_code == 0


def test_provider_without_a_fixed_scope_does_not_prevent_names(gateway: ScriptedGateway, run: Run) -> None:
    open_provider = {"provider": "open", "problem": {"code": "invalid_request", "detail": "needs a scope"}}
    gateway.answers(page(runtime(), incomplete=(open_provider,)))
    gateway.answers(runtime(changed=True))
    assert run("runtimes", "pause", "research-agent").exit_code == 0


def test_several_runtimes_are_changed_although_one_fails(gateway: ScriptedGateway, run: Run) -> None:
    gateway.script += of_path(runtime("paused", changed=True), CONFLICT)
    result = run("runtimes", "pause", ID, OTHER, "-o", "json")
    assert [item["id"] for item in json.loads(result.stdout)["items"]] == [ID]
    assert result.stderr.splitlines() == [f"error: {OTHER}: state_conflict: works from: running", "  request id: r-2"]
    assert result.exit_code == 1


def test_labels_select_the_runtimes(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(page(runtime(), runtime(id=OTHER)))
    gateway.script += of_path(runtime("paused", changed=True), runtime("paused", changed=True, id=OTHER))
    result = run("runtimes", "pause", "-l", "team=shop", "-l", "tier=1", "-o", "name")
    assert result.stdout.split() == [ID, OTHER]
    labels = [value for name, value in gateway.seen[0].query if name == "label"]
    assert labels == ["team=shop", "tier=1"]


def test_labels_without_a_runtime_change_nothing(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(page())
    result = run("runtimes", "delete", "-l", "team=shop")
    assert (result.exit_code, len(gateway.seen)) == (0, 1)
    assert (result.stdout, result.stderr) == ("", "no runtime has these labels\n")
    gateway.answers(page())
    result = run("runtimes", "stop", "-l", "team=shop")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "no runtime has these labels\n")
    gateway.answers(page(runtime(), incomplete=(MISSING,)))
    gateway.script.append(no_content)
    result = run("runtimes", "delete", "-l", "team=shop")
    assert result.exit_code == 3
    assert result.stderr.splitlines() == ["incomplete: sick: provider_timeout: too slow", f"deleted: {ID}"]


@pytest.mark.parametrize("arguments", [(), (ID, "-l", "a=b"), ("-l", "team")], ids=["nothing", "both", "no value"])
def test_runtimes_are_either_named_or_selected(run: Run, arguments: tuple[str, ...]) -> None:
    assert run("runtimes", "stop", *arguments).exit_code == 2


def test_capability_and_key_are_used_by_name(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers({"items": [{"id": "b-1", "name": "web-search"}, {"id": "b-2", "name": "shell"}]})
    gateway.script.append(no_content)
    assert run("runtimes", "capabilities", "remove", ID, "web-search").exit_code == 0
    gateway.answers({"items": [{"id": "key_1", "name": "dashboard"}, {"id": "key_2", "name": None}]})
    gateway.script.append(no_content)
    assert run("keys", "revoke", "dashboard").exit_code == 0
    assert paths(gateway)[1::2] == [("DELETE", f"runtimes/{ID}/capabilities/b-1"), ("DELETE", "keys/key_1")]


def test_intent_and_the_runtime_of_events_are_used_by_name(gateway: ScriptedGateway, run: Run) -> None:
    intent = {"id": "in_0d4f", "name": "one", "state": "parked", "attempts": []}
    gateway.answers({"items": [intent, {**intent, "id": "in_1", "name": "two"}], "next_cursor": None})
    gateway.answers(intent)
    assert run("intents", "show", "one").exit_code == 0
    assert gateway.seen[1].path == "/v1/intents/in_0d4f"
    gateway.answers(page(runtime()))
    gateway.answers({"items": [], "next_cursor": None})
    assert run("audit", "--runtime", "research-agent").exit_code == 0
    assert ("runtime", ID) in gateway.seen[3].query


def test_runtimes_that_the_labels_may_have_missed_are_noted(gateway: ScriptedGateway, run: Run) -> None:
    warning = {"provider": "p", "detail": "Runtimes whose labels are not known are left out: 3."}
    gateway.answers({**page(runtime(), runtime(id=OTHER, name="other")), "warnings": [warning]})
    gateway.script += of_path(runtime(changed=True), CONFLICT)
    result = run("runtimes", "pause", "-l", "team=shop")
    assert result.stderr.splitlines() == [
        "warning: Runtimes whose labels are not known are left out: 3.",
        "error: other: state_conflict: works from: running",
        "  request id: r-2",
    ]


def test_owners_of_an_incomplete_list_end_with_3(gateway: ScriptedGateway, run: Run) -> None:
    gateway.answers(page(runtime(), incomplete=(MISSING,)))
    result = run("owners", "list")
    assert (result.exit_code, result.stderr) == (3, "incomplete: sick: provider_timeout: too slow\n")
