"""The files for containers: the Containerfile, ``compose.yaml`` and the Kubernetes manifests."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from ruamel.yaml import YAML

from gateway import __version__
from tests.component.processes import finished
from tests.deployment import DEPLOY, ROOT, SECRETS, commands, compose, instructions, load, secret_files, write_secrets

MANIFESTS = sorted(path.name for path in (DEPLOY / "kubernetes").iterdir())
LAST_STEPS = 10  # seconds of a stop after its grace, see docs/deploy.md#stop


def manifest(kind: str) -> Any:
    """The one manifest of this kind."""
    (found,) = (each for each in (load(f"kubernetes/{name}") for name in MANIFESTS) if each["kind"] == kind)
    return found


def pod() -> Any:
    return manifest("Deployment")["spec"]["template"]["spec"]


async def check(settings: str, folder: Path) -> None:
    """``config check`` of settings whose secrets are the files of the page's commands."""
    secrets = write_secrets(folder)
    file = folder / "gateway.yaml"
    file.write_text(settings.replace(SECRETS, str(secrets)))
    ended = await finished("config", "check", "--config", str(file), cwd=folder)
    assert (ended.code, ended.stderr) == (0, ""), ended.stderr


def longer_than_a_stop(seconds: int, settings: dict[str, Any]) -> bool:
    return seconds > settings["shutdown"]["delay"] + settings["shutdown"]["grace"] + LAST_STEPS


def test_image_runs_as_a_numbered_user_and_installs_locked_dependencies_only() -> None:
    users = [rest for name, rest in instructions() if name == "USER"]
    assert users == ["10001:10001"]
    installs = [rest for name, rest in instructions() if name == "RUN" and "pip install" in rest]
    assert installs
    assert all("--require-hashes" in each or "--no-deps --no-index /dist/" in each for each in installs)
    last = instructions()[max(index for index, (name, _) in enumerate(instructions()) if name == "FROM") :]
    assert [rest for name, rest in last if name == "COPY"] == ["--from=build /opt/runtime-gateway /opt/runtime-gateway"]


def test_build_is_sent_all_that_it_copies() -> None:
    """The ignore file lets through exactly the sources, all of which exist."""
    copied = [rest.split()[:-1] for name, rest in instructions() if name == "COPY" and "--from" not in rest]
    sources = {source for each in copied for source in each}
    assert all((ROOT / source).exists() for source in sources)
    ignored = (DEPLOY / "Containerfile.dockerignore").read_text("utf-8").splitlines()
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == sources
    assert ignored[1] == "*"


@pytest.mark.parametrize(
    ("schema", "file"),
    [
        ("vendor.compose-spec", "config/deploy/compose.yaml"),
        ("vendor.github-workflows", ".github/workflows/ci.yml"),
        ("custom.github-workflows-require-timeout", ".github/workflows/ci.yml"),
    ],
)
def test_file_fits_its_schema(schema: str, file: str) -> None:
    command = (sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, file)
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout


def test_workflow_runs_the_script_of_ci_with_actions_at_a_commit() -> None:
    workflow = YAML(typ="safe").load(ROOT / ".github/workflows/ci.yml")
    steps = workflow["jobs"]["run"]["steps"]
    assert steps[-1] == {"run": ".ci/run"}
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", step["uses"]) for step in steps if "uses" in step)
    assert workflow["permissions"] == {"contents": "read"}


def test_changelog_begins_with_the_version() -> None:
    versions = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert versions[0] == __version__


def test_compose_file_has_two_confined_gateways_and_their_services() -> None:
    services = compose()["services"]
    assert set(services) == {"gateway-a", "gateway-b", "postgres", "valkey", "prometheus", "grafana"}
    for gateway in (services["gateway-a"], services["gateway-b"]):
        assert gateway["read_only"] is True
        assert gateway["cap_drop"] == ["ALL"]
        assert gateway["ulimits"] == {"nofile": 65536}
        assert gateway["image"] == f"runtime-gateway:{__version__}"
    for name, service in services.items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        assert re.search(r":[\w.-]*\d", service["image"]), name
        assert "healthcheck" in service or service["build"]["dockerfile"] == "config/deploy/Containerfile", name
    assert compose()["networks"]["inside"] == {"internal": True}
    assert services["postgres"]["networks"] == services["valkey"]["networks"] == ["inside"]


def test_everything_that_the_compose_file_mounts_exists() -> None:
    document = compose()
    for service in document["services"].values():
        for source in (mount.partition(":")[0] for mount in service.get("volumes", ())):
            assert (DEPLOY / source).is_dir() if source.startswith("./") else source in document["volumes"]
        assert set(service.get("secrets", ())) <= document["secrets"].keys()


def test_commands_of_the_page_write_the_secrets_of_the_compose_file(tmp_path: Path) -> None:
    secrets = {name: Path(secret["file"]) for name, secret in compose()["secrets"].items()}
    assert {tmp_path / file for file in secrets.values()} == {*write_secrets(tmp_path).iterdir()}
    assert all(path.stat().st_mode & 0o777 == 0o444 for path in (tmp_path / "secrets").iterdir())
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700


async def test_settings_of_the_compose_file_are_valid(tmp_path: Path) -> None:
    text = (DEPLOY / "settings/gateway.yaml").read_text("utf-8")
    gateway, settings = compose()["services"]["gateway-a"], load("settings/gateway.yaml")
    assert secret_files(text) == set(gateway["secrets"])
    assert longer_than_a_stop(int(gateway["stop_grace_period"].removesuffix("s")), settings)
    await check(text, tmp_path)


def test_health_check_of_the_image_asks_the_admin_port_of_the_settings() -> None:
    (health,) = (rest for name, rest in instructions() if name == "HEALTHCHECK")
    for settings in (load("settings/gateway.yaml"), load_embedded()):
        port = settings["admin"]["listen"].rpartition(":")[2]
        assert f"http://127.0.0.1:{port}/livez" in health


def load_embedded() -> Any:
    """The settings in the ConfigMap."""
    return YAML(typ="safe").load(manifest("ConfigMap")["data"]["gateway.yaml"])


@pytest.mark.parametrize("version", ["1.27", "1.32", "1.37"])
@pytest.mark.parametrize("name", MANIFESTS)
def test_manifest_fits_the_schema_of_the_kubernetes_api(name: str, version: str) -> None:
    kubernetes_validate.validate(load(f"kubernetes/{name}"), version, strict=True)


def test_schema_check_refuses_a_field_that_does_not_exist() -> None:
    document = manifest("Deployment")
    document["spec"]["replica"] = 2
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, "1.32", strict=True)


def test_manifests_select_the_pods_of_the_deployment() -> None:
    labels = manifest("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert manifest("Deployment")["spec"]["selector"]["matchLabels"] == labels
    assert manifest("Service")["spec"]["selector"] == labels
    assert manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert manifest("NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == labels


def test_one_of_two_replicas_stays_during_disruptions_and_updates() -> None:
    assert manifest("Deployment")["spec"]["replicas"] == 2
    assert manifest("PodDisruptionBudget")["spec"]["minAvailable"] == 1
    assert manifest("Deployment")["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_pods_are_confined() -> None:
    spec = pod()
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert (spec["automountServiceAccountToken"], spec["enableServiceLinks"]) == (False, False)
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert f"{spec['securityContext']['runAsUser']}:{spec['securityContext']['runAsGroup']}" == "10001:10001"
    assert container["image"].endswith(f":{__version__}")


def test_pods_leave_service_before_they_stop() -> None:
    (container,) = pod()["containers"]
    ready, settings = container["readinessProbe"], load_embedded()
    assert ready["periodSeconds"] * ready["failureThreshold"] < settings["shutdown"]["delay"]
    assert longer_than_a_stop(pod()["terminationGracePeriodSeconds"], settings)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert settings["http"]["listen"] == f"0.0.0.0:{ports['api']}"
    assert settings["admin"]["listen"] == f"0.0.0.0:{ports['admin']}"
    for probe, path in (("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
        assert container[probe]["httpGet"] == {"path": path, "port": "admin"}


async def test_settings_of_the_manifests_are_valid_and_read_the_secrets_of_the_page(tmp_path: Path) -> None:
    text = manifest("ConfigMap")["data"]["gateway.yaml"]
    created = set(re.findall(r"--from-file config/deploy/secrets/([\w-]+)", " ".join(commands("Kubernetes"))))
    assert secret_files(text) == created
    mounts = {mount["name"]: mount["mountPath"] for mount in pod()["containers"][0]["volumeMounts"]}
    assert mounts["secrets"] == SECRETS
    assert load_embedded()["audit"]["journal"].startswith(mounts["state"])
    await check(text, tmp_path)
