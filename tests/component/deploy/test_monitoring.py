"""The alerts and the dashboard of ``config/deploy`` fit the metrics that the gateway has, and the runbook."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from gateway.domain.errors import Source, error_classes
from gateway.telemetry.metrics import Metrics
from tests.architecture.test_docs import ROOT, anchors, text
from tests.programs import program

PROMETHEUS = ROOT / "config/deploy/prometheus"
GRAFANA = ROOT / "config/deploy/grafana"
DASHBOARD = json.loads((GRAFANA / "dashboards/runtime-gateway.json").read_text("utf-8"))
RULES = YAML(typ="safe").load(PROMETHEUS / "alerts.yaml")["groups"][0]["rules"]
TESTS = YAML(typ="safe").load(PROMETHEUS / "alerts.test.yaml")["tests"]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
WITHOUT_ALERT = {
    "runbook": "the title",
    "alerts": "the list of alerts",
    "a-caller-reports-a-failed-request": "it begins with a person",
    "the-store-was-lost-or-restored": "an operator restores it",
}
LOG_ONLY = {
    "interrupted",
    "settings_warning",
    "restart_needed",
    "connections_lowered",
    "moves_not_saved",
    "misanswered_create",
    "runtime_moved",
    "worker_ended",
}
OTHER_METRICS = {"up", "ALERTS"}  # of Prometheus itself


def named(item: dict[str, Any]) -> str:
    return str(item.get("alert") or item.get("title"))


def expressions() -> Iterator[str]:
    """Every expression of the alerts, and of the dashboard with values for its variables."""
    yield from (rule["expr"] for rule in RULES)
    for panel in PANELS:
        for target in panel["targets"]:
            yield re.sub(r"\$\w+", ".*", target["expr"].replace("$__rate_interval", "1m"))


def promtool(*arguments: str, cwd: Path = PROMETHEUS) -> None:
    ended = subprocess.run([program("promtool"), *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def labels_of_metrics() -> dict[str, set[str]]:
    """The labels of each metric by the names of its series: those of the registry, with the labels that their page
    documents."""
    page = text("metrics.md")
    rows = dict(re.findall(r"^\| `(\w+)` \| (?:counter|gauge|histogram) \| (.*?) ?\|", page, re.MULTILINE))
    found: dict[str, set[str]] = {}
    for family in Metrics().registry.collect():
        row = rows.get(family.name) or rows.get(f"{family.name}_total") or ""
        labels = {*re.findall(r"`(\w+)`", row), "instance", "job"}
        for suffix in ("", "_total", "_sum", "_count"):
            found[family.name + suffix] = labels
        found[f"{family.name}_bucket"] = labels | {"le"}
    return found


def test_rules_and_the_scrape_configuration_are_valid() -> None:
    promtool("check", "rules", "alerts.yaml")
    promtool("check", "config", "prometheus.yml")


def test_every_alert_fires_for_its_cause_only_and_resolves() -> None:
    promtool("test", "rules", "alerts.test.yaml")


def test_every_alert_has_a_test_in_which_it_fires_between_two_times_without_it() -> None:
    assert [test["name"] for test in TESTS] == [rule["alert"] for rule in RULES]
    for test in TESTS:
        before, during, after = test["alert_rule_test"]
        assert {step["alertname"] for step in (before, during, after)} == {test["name"]}
        assert not before["exp_alerts"]
        assert len(during["exp_alerts"]) == 1
        assert not after["exp_alerts"]


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_alert_names_its_section_of_the_runbook(rule: dict[str, Any]) -> None:
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert page == "/docs/runbook"
    assert anchor in anchors(ROOT / "docs/runbook.md")
    assert rule["labels"]["severity"] in {"critical", "warning"}


def test_every_section_of_the_runbook_has_an_alert() -> None:
    linked = {rule["annotations"]["runbook"].partition("#")[2] for rule in RULES}
    assert linked == anchors(ROOT / "docs/runbook.md") - WITHOUT_ALERT.keys()


def test_every_outcome_of_the_runbook_is_one_of_the_alert() -> None:
    """The rows of its table of outcomes, which are patterns of statuses in part."""
    section = text("runbook.md").partition("\n## A provider fails\n")[2].partition("\n## ")[0]
    rows = [
        cell for line in re.findall(r"^\| (`.+?) \|", section, re.MULTILINE) for cell in re.findall("`(.+?)`", line)
    ]
    assert {"dns", "cut_short", "403", "5xx"} <= {*rows}
    (rule,) = (rule for rule in RULES if rule["alert"] == "RuntimeGatewayProviderErrors")
    (pattern,) = re.findall(r'outcome=~"(.+?)"', rule["expr"])
    assert all(re.fullmatch(pattern, row.replace("xx", "03")) for row in rows)
    assert not re.fullmatch(pattern, "200")


def test_every_log_event_of_a_fault_has_an_alert_or_is_known_to_have_none() -> None:
    """The rows of the table of log events, by the first event of each."""
    section = text("runbook.md").partition("\n## Log events\n")[2]
    rows = re.findall(r"^\| `(\w+)`.*? \| (.*?) \| (`\w+`|–) \|", section, re.MULTILINE)
    alerts = {f"`{rule['alert']}`" for rule in RULES}
    assert {alert for _, _, alert in rows if alert != "–"} <= alerts
    faults = {event: alert for event, level, alert in rows if "error" in level or "warning" in level}
    assert {event for event, alert in faults.items() if alert == "–"} == LOG_ONLY
    assert len(faults) > 2 * len(LOG_ONLY)


def test_every_error_that_is_not_the_clients_is_one_of_the_alert() -> None:
    (rule,) = (rule for rule in RULES if rule["alert"] == "RuntimeGatewayErrors")
    (pattern,) = re.findall(r'source=~"(.+?)"', rule["expr"])
    sources = {cls.default_source for cls in error_classes()}
    assert {source for source in sources if re.fullmatch(pattern, source)} == sources - {Source.CLIENT}


@pytest.mark.parametrize("expression", list(expressions()))
def test_expression_uses_metrics_and_labels_that_exist(expression: str) -> None:
    known = labels_of_metrics()
    names = set(re.findall(r"\b(?:rtgw|process)_\w+|\bup\b|\bALERTS\b", expression))
    assert names
    assert names <= known.keys() | OTHER_METRICS
    for name, matchers in re.findall(r"\b((?:rtgw|process)_\w+)\{(.*?)\}", expression):
        assert set(re.findall(r"(\w+)(?:=|!=|=~|!~)\"", matchers)) <= known[name]
    grouping = {label.strip() for group in re.findall(r"\bby \((.*?)\)", expression) for label in group.split(",")}
    alerts = {"alertname", "severity"} if "ALERTS" in names else set()
    assert grouping <= alerts.union(*(known[name] for name in names - OTHER_METRICS))


def test_every_expression_can_be_parsed(tmp_path: Path) -> None:
    rules = [{"record": f"expression:{number}", "expr": text} for number, text in enumerate(expressions())]
    (tmp_path / "rules.yaml").write_text(json.dumps({"groups": [{"name": "all", "rules": rules}]}))
    promtool("check", "rules", "rules.yaml", cwd=tmp_path)


def test_every_metric_is_on_the_dashboard() -> None:
    """Those of the process are, as far as they help."""
    shown = " ".join(target["expr"] for panel in PANELS for target in panel["targets"])
    families = {family.name for family in Metrics().registry.collect() if family.name.startswith("rtgw_")}
    assert not {name for name in families if not re.search(rf"\b{name}(_total|_bucket)?\b", shown)}


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    cells = [
        (panel["gridPos"]["x"] + column, panel["gridPos"]["y"] + line)
        for panel in DASHBOARD["panels"]
        for column in range(panel["gridPos"]["w"])
        for line in range(panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(column for column, _ in cells) < 24
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in PANELS)


def test_grafana_is_provisioned_with_prometheus_and_the_folder_of_the_dashboard() -> None:
    yaml = YAML(typ="safe")
    (source,) = yaml.load(GRAFANA / "provisioning/datasources/prometheus.yaml")["datasources"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    (provider,) = yaml.load(GRAFANA / "provisioning/dashboards/runtime-gateway.yaml")["providers"]
    compose = (ROOT / "config/deploy/compose.yaml").read_text("utf-8")
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in compose
