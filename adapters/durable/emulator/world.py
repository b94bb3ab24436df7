"""The state of the emulated platform: workspaces, projects, runtimes, their instances and transitions."""

import hashlib
import json
import secrets
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.testing.exchange import timestamp

CREDITS_PER_SECOND: Final = 0.0552
DEFAULT_LIMIT: Final = 3600  # seconds; for an organization without its own settings
PLATFORM_MAX_LIMIT: Final = 86_400
LATEST: Final = "1.0.0"
_NAMES: Final = uuid.UUID("6f1c6f0e-58a5-4a52-9f0b-1f1f5d1d6c01")


def stable_uuid(*parts: str) -> str:
    """The same UUID for the same parts, for resources that exist as soon as they are named."""
    return str(uuid.uuid5(_NAMES, "\n".join(parts)))


def digest(value: Any) -> str:
    """The digest of a JSON value. The order of members does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Project:
    id: str
    key: str
    name: str
    description: str | None
    created_at: float


@dataclass(slots=True)
class Binding:
    """An agent capability installed on a runtime."""

    id: str
    name: str
    version: str
    enabled: bool = True
    flags: dict[str, bool] = field(default_factory=dict)

    @property
    def artifact(self) -> str:
        return digest([self.name, self.version])


@dataclass(slots=True)
class Instance:
    """The compute of a runtime: one sandbox, running or paused. Times are in seconds since the Unix epoch."""

    sandbox_id: str
    provider: str
    provider_sandbox_id: str
    token: str
    materialised: str
    created_at: float
    since: float
    expires_at: float
    limit: int
    requested: int | None
    configured: int
    ran: float = 0.0
    paused: bool = False
    pause_reason: str | None = None
    address: str | None = None

    def seconds(self, now: float) -> float:
        return self.ran if self.paused else self.ran + max(0.0, now - self.since)

    def pause(self, at: float, reason: str) -> None:
        """Stop counting running time and credits. The expiry is not changed."""
        self.ran = self.seconds(at)
        self.paused, self.pause_reason = True, reason

    def resume(self, now: float) -> None:
        """Continue running, with the full time limit again."""
        self.since, self.expires_at = now, now + self.limit
        self.paused, self.pause_reason = False, None

    def as_json(self, now: float) -> dict[str, Any]:
        billed = int(self.ran * CREDITS_PER_SECOND)
        total = int(self.seconds(now) * CREDITS_PER_SECOND)
        return {
            "sandbox_id": self.sandbox_id,
            "provider": self.provider,
            "provider_sandbox_id": self.provider_sandbox_id,
            "sandbox_url": self.address or f"https://{self.provider_sandbox_id}.sandbox.invalid",
            "state": "paused" if self.paused else "running",
            "created_at": timestamp(self.created_at),
            "expires_at": timestamp(self.expires_at),
            "pause_reason": self.pause_reason,
            "billed_credits": billed,
            "running_credits": total - billed,
            "estimated_total_credits": total,
            "total_runtime_seconds": int(self.seconds(now)),
            "actual_runtime_limit_seconds": self.limit,
            "requested_runtime_limit_seconds": self.requested,
            "requested_runtime_limit_source_level": None if self.requested is None else "l4_requested",
            "configured_runtime_limit_seconds": self.configured,
            "configured_runtime_limit_source_level": "l3_org_default",
            "supports_pause": True,
            "startup_timing": {
                "total_sec": 3.2,
                "api_pre_provision_sec": 0.4,
                "provider_provision_sec": 2.1,
                "ready_detect_lag_sec": 0.1,
                "phases": {"provision": 2.1, "ready": 0.7},
                "runtime": {"timings": {"serve_entered": 0.3, "ready": 0.7}, "durations": {}},
            },
        }


@dataclass(slots=True)
class Runtime:
    """A durable runtime. ``owner`` names the user who created it."""

    id: str
    key: str
    name: str
    description: str | None
    project: Project
    owner: str
    config: dict[str, Any]
    requested_limit: int | None
    created_at: float
    updated_at: float
    instance: Instance | None = None
    bindings: dict[str, Binding] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """``idle``, ``running`` or ``paused``."""
        if self.instance is None:
            return "idle"
        return "paused" if self.instance.paused else "running"

    @property
    def config_digest(self) -> str:
        return digest(self.config)

    @property
    def materialisation(self) -> str:
        """The digest of what a sandbox started now would contain: the config and the enabled capabilities."""
        enabled = [[b.name, b.version, b.flags] for b in self.bindings.values() if b.enabled]
        return digest([self.config, enabled])

    def apply_timeout(self, now: float) -> None:
        """Pause an instance whose time limit has passed, from that moment on (one of the two documented reactions)."""
        instance = self.instance
        if instance is not None and not instance.paused and instance.expires_at <= now:
            instance.pause(instance.expires_at, "timeout")
            self.updated_at = instance.expires_at

    def provision(self, now: float, requested: int | None) -> Instance:
        """Create and return a running instance. ``requested`` is its time limit in seconds, if the caller sent one."""
        timeout = self.config["sandbox"]["timeout_seconds"]
        configured = timeout if timeout and timeout > 0 else DEFAULT_LIMIT
        requested = self.requested_limit if requested is None else requested
        limit = min(configured if requested is None else requested, PLATFORM_MAX_LIMIT)
        provider = self.config["build"]["provider"]
        self.instance = Instance(
            sandbox_id=str(uuid.uuid4()),
            provider="e2b" if provider == "auto" else provider,
            provider_sandbox_id=f"i{secrets.token_hex(10)}",
            token=f"sbx_{secrets.token_urlsafe(24)}",
            materialised=self.materialisation,
            created_at=now,
            since=now,
            expires_at=now + limit,
            limit=limit,
            requested=requested,
            configured=configured,
        )
        return self.instance

    def as_json(self, now: float, caller: str) -> dict[str, Any]:
        """The JSON, a ``RuntimeResponse``, as ``caller`` sees it. List items have the same form."""
        return {
            "id": self.id,
            "key": self.key,
            "name": self.name,
            "description": self.description,
            "project_id": self.project.id,
            "project_key": self.project.key,
            "project_name": self.project.name,
            "status": self.status,
            "config_version": self.config["version"],
            "config_digest": self.config_digest,
            "created_by": stable_uuid("user", self.owner),
            "owned_by_me": self.owner == caller,
            "created_at": timestamp(self.created_at),
            "updated_at": timestamp(self.updated_at),
            "instance": None if self.instance is None else self.instance.as_json(now),
        }


@dataclass(slots=True)
class Workspace:
    """One workspace of one organization, with its default project."""

    org: str
    key: str
    created_at: float
    projects: dict[str, Project] = field(default_factory=dict)
    runtimes: dict[str, Runtime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.projects:
            self.add_project("default", "Default", None, self.created_at)

    @property
    def id(self) -> str:
        return stable_uuid("workspace", self.org, self.key)

    @property
    def default_project(self) -> Project:
        return next(iter(self.projects.values()))

    def add_project(self, key: str, name: str, description: str | None, now: float) -> Project:
        project = Project(stable_uuid("project", self.id, key), key, name, description, now)
        self.projects[project.id] = project
        return project

    def project(self, key_or_id: str) -> Project | None:
        by_id = self.projects.get(key_or_id.lower())
        return by_id or next((project for project in self.projects.values() if project.key == key_or_id), None)

    def ordered(self) -> list[Runtime]:
        """All runtimes, oldest first."""
        return sorted(self.runtimes.values(), key=lambda runtime: (runtime.created_at, runtime.id))

    def keyed(self, key: str, owner: str | None) -> Runtime | None:
        """The oldest runtime with a key; of one owner, or of any without ``owner``."""
        return next(
            (runtime for runtime in self.ordered() if runtime.key == key and owner in {None, runtime.owner}), None
        )


@dataclass(frozen=True, slots=True)
class State:
    """Everything that calls created: the organizations, with their creation times, and the workspaces."""

    organizations: dict[str, float]
    workspaces: list[Workspace]


class World:
    """All organizations. Naming one creates it."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._workspaces: dict[tuple[str, str], Workspace] = {}
        self._organizations: dict[str, float] = {}

    def clear(self) -> None:
        self._workspaces.clear()
        self._organizations.clear()

    def state(self) -> State:
        return State(self._organizations, list(self._workspaces.values()))

    def restore(self, state: State) -> None:
        self._organizations = state.organizations
        self._workspaces = {(workspace.org, workspace.key): workspace for workspace in state.workspaces}

    def organization(self, org: str) -> float:
        """The creation time of an organization: when it was first named."""
        return self._organizations.setdefault(org, self._now())

    def organizations(self) -> list[str]:
        return list(self._organizations)

    def workspace(self, org: str, key: str) -> Workspace:
        """A workspace, created if it is named for the first time."""
        self.organization(org)
        if (org, key) not in self._workspaces:
            self._workspaces[org, key] = Workspace(org, key, self._now())
        return self._workspaces[org, key]

    def workspaces(self, org: str) -> list[Workspace]:
        """The workspaces of an organization named so far; the first one is its default."""
        return [workspace for (of, _), workspace in self._workspaces.items() if of == org]

    def runtimes(self) -> Iterator[Runtime]:
        return (runtime for _, runtime in self.with_workspaces())

    def with_workspaces(self) -> Iterator[tuple[Workspace, Runtime]]:
        now = self._now()
        for workspace in self._workspaces.values():
            for runtime in workspace.runtimes.values():
                runtime.apply_timeout(now)
                yield workspace, runtime
