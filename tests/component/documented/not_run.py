"""The commands of the pages that are not run as they are, each with the reason."""

import re
from typing import Final

INDEX: Final = "it needs a package index or a network"
BUILDS: Final = "make builds and tests the checkout; make -n shows that there is such a target"
MOVES: Final = "tests/component/test_leaving_commands.py pastes it"
KEYS: Final = "tests/component/test_access_commands.py pastes it"
NO_CLUSTER: Final = "there is no cluster; tests/component/deploy/test_containers.py checks the manifests"
NO_IMAGES: Final = "no image is built in tests; tests/real/test_image.py and test_stack.py run what it would"
UNIT: Final = "it would change this machine; tests/component/deploy/test_systemd.py checks and runs the unit"
BROWSER: Final = "it needs a Chromium; tests/real/test_data_plane.py and test_runtime_server.py run it"
SUITE: Final = "it is a test suite itself; the file is checked"

_ACCESS: Final = (
    "umask 077",
    "runtime-gateway keys create --principal team-a --template five-browsers --name backend > team-a.key",
    "runtime-gateway keys rotate $KEY_ID --overlap 86400 > team-a.key",
    "runtime-gateway audit --principal team-a --since 7d",
    "runtime-gateway keys revoke $KEY_ID",
    "runtime-gateway principals disable team-a",
)
_PLAN: Final = "runtime-gateway migrate plan --from durable-main --to durable-new"
_PLAN_BROWSERS: Final = "runtime-gateway migrate plan --from bctrl-main --to browsers-main"
_MOVING: Final = (
    f"{_PLAN} --mappings mappings.yaml",
    f"{_PLAN} --mappings mappings.yaml --overrides overrides.yaml --when now",
    "runtime-gateway migrate apply mv_019a… --digest sha256:4f1c…",
    "runtime-gateway migrate status mv_019a…",
    "runtime-gateway migrate items mv_019a…",
    "runtime-gateway runtimes list --provider durable-main",
    "runtime-gateway runtimes list --provider durable-new -o wide",
    "runtime-gateway migrate ids mv_019a… --csv > ids.csv",
    "runtime-gateway migrate rollback mv_019a… --dry-run",
    "runtime-gateway migrate rollback mv_019a… --sync-back config,capabilities",
    f"{_PLAN_BROWSERS} --when now --mappings profiles.yaml",
    "runtime-gateway migrate apply mv_019a… --digest sha256:4f1c… --yes",
    _PLAN,
    "runtime-gateway export --provider durable-main -o fleet.ndjson",
    "runtime-gateway import fleet.ndjson --provider durable-new --dry-run",
    "runtime-gateway import fleet.ndjson --provider durable-new",
)

NOT_RUN: Final = {
    ("*", "make "): BUILDS,
    ("*", "pipx install "): INDEX,
    ("docs/deploy.md", "promtool "): "tests/component/deploy/test_monitoring.py runs it",
    ("docs/deploy.md", "python3 -m venv "): "it takes seconds; tests/real/test_image.py makes a virtual environment",
    ("docs/deploy.md", "/opt/runtime-gateway/bin/pip install "): f"{INDEX}; tests/real/test_image.py installs so",
    ("docs/deploy.md", "podman "): NO_IMAGES,
    ("docs/deploy.md", "docker compose "): NO_IMAGES,
    ("docs/deploy.md", "kubectl "): NO_CLUSTER,
    ("docs/deploy.md", "systemd-sysusers"): UNIT,
    ("docs/deploy.md", "systemctl enable "): UNIT,
    ("*", "runtime-gateway serve --config gateway.yaml --workers 4"): "it needs PostgreSQL; test_workers.py runs it",
    ("docs/api.md", "openapi-python-client "): f"{INDEX}; tests/real/test_generated_clients.py runs it",
    ("docs/api.md", "npx openapi-typescript "): f"{INDEX}; tests/real/test_generated_clients.py runs it",
    ("docs/api.md", 'curl -sS -N "$RTGW_SERVER/v1/runtimes/$ID/events" '): "it follows the runtime until it is deleted",
    ("README.md", "python3 - "): BROWSER,
    ("docs/connect.md", "python3 - "): BROWSER,
    ("docs/connect.md", "node "): BROWSER,
    (
        "docs/adding-a-provider.md",
        "python3 - ",
    ): "it is a part of a test; tests/architecture/test_new_adapter.py runs it",
    **dict.fromkeys((("docs/access.md", command) for command in _ACCESS), KEYS),
    **dict.fromkeys((("docs/leaving-a-provider.md", command) for command in _MOVING), MOVES),
    ("tests/faults/simulator/README.md", ".venv/bin/python -m pytest "): SUITE,
    ("tests/faults/simulator/README.md", "INTERLEAVINGS=200000 "): SUITE,
    ("tests/faults/simulator/README.md", "MOVE_INTERLEAVINGS=20000 "): SUITE,
}
"""By the page and the command; ``*`` is any page, and a command that ends with a space only the begin of one."""


def exception(page: str, text: str) -> tuple[str, str] | None:
    """The entry of a command that is not run."""
    command = re.sub(r"\s+#.*", "", text)
    for where, listed in NOT_RUN:
        if where in {"*", page} and (command.startswith(listed) if listed.endswith(" ") else command == listed):
            return where, listed
    return None
