"""What the platform's client reads besides runtimes: users, organizations, workspaces, projects, logs."""

from collections.abc import Iterable
from typing import Any, Final

from adapters.durable.emulator import checks
from adapters.durable.emulator.platform import Platform
from adapters.durable.emulator.world import DEFAULT_LIMIT, PLATFORM_MAX_LIMIT, Project, Workspace, stable_uuid
from gateway.testing.exchange import Answer, Call, Route, timestamp

_SECRETS: Final = ("OPENAI_API_KEY", "GITHUB_TOKEN")


class LookupRoutes:
    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._world = platform.world

    def routes(self, base: str) -> Iterable[Route]:
        workspace = base + "/org/{org}/ws/{workspace}"
        yield Route("get_user", "GET", base + "/user", self._user)
        yield Route("list_organizations", "GET", base + "/user/organizations", self._organizations)
        yield Route("list_secrets", "GET", base + "/user/secrets", self._secrets)
        yield Route("get_organization", "GET", base + "/org/{org}", self._organization)
        yield Route("list_workspaces", "GET", base + "/org/{org}/ws", self._workspaces)
        yield Route("get_workspace", "GET", workspace, self._workspace)
        yield Route("list_projects", "GET", workspace + "/projects", self._projects)
        yield Route("create_project", "POST", workspace + "/projects", self._create_project)
        yield Route("get_project", "GET", workspace + "/projects/{project}", self._project)
        yield Route("get_logs", "GET", base + "/org/{org}/sandboxes/{sandbox}/logs", self._logs)

    def _user(self, call: Call) -> Answer:
        return Answer(
            body={
                "id": stable_uuid("user", call.caller),
                "email_address": f"{call.caller}@emulator.invalid",
                "username": call.caller,
            }
        )

    def _organizations(self, _: Call) -> Answer:
        return Answer(body=[self._org(org) for org in self._world.organizations() or ["acme"]])

    def _organization(self, call: Call) -> Answer:
        return Answer(body=self._org(call.path["org"]))

    def _org(self, org: str) -> dict[str, Any]:
        created = timestamp(self._world.organization(org))
        return {
            "id": stable_uuid("organization", org),
            "name": org,
            "key": org,
            "created_at": created,
            "updated_at": created,
            "effective_max_sandbox_runtime_seconds": PLATFORM_MAX_LIMIT,
            "max_sandbox_runtime_source_level": "l1_platform_max",
            "effective_default_sandbox_runtime_seconds": DEFAULT_LIMIT,
            "default_sandbox_runtime_source_level": "l3_org_default",
            "platform_max_sandbox_runtime_seconds": PLATFORM_MAX_LIMIT,
            "platform_default_sandbox_runtime_seconds": DEFAULT_LIMIT,
        }

    def _workspaces(self, call: Call) -> Answer:
        org = call.path["org"]
        known = self._world.workspaces(org) or [self._world.workspace(org, "default")]
        return Answer(body=[_workspace(workspace, known[0]) for workspace in known])

    def _workspace(self, call: Call) -> Answer:
        workspace = self._platform.workspace(call)
        return Answer(body=_workspace(workspace, self._world.workspaces(workspace.org)[0]))

    def _projects(self, call: Call) -> Answer:
        return Answer(body=[_project(project) for project in self._platform.workspace(call).projects.values()])

    def _project(self, call: Call) -> Answer:
        project = self._platform.workspace(call).project(call.path["project"])
        if project is None:
            raise self._platform.refuse(404, "Project not found")
        return Answer(body=_project(project))

    def _create_project(self, call: Call) -> Answer:
        body = self._platform.checked(call, checks.Project)
        workspace = self._platform.workspace(call)
        key = body.key or "-".join(body.name.lower().split())
        if workspace.project(key) is not None:
            raise self._platform.refuse(409, "A project with this key exists", "already_exists_error")
        project = workspace.add_project(key, body.name, body.description, self._platform.now())
        return Answer(201, _project(project))

    def _secrets(self, call: Call) -> Answer:
        epoch = timestamp(0)
        secrets = [
            {
                "id": stable_uuid("secret", call.caller, name),
                "name": name,
                "masked_value": "****",
                "created_at": epoch,
                "updated_at": epoch,
            }
            for name in _SECRETS
        ]
        return Answer(body={"secrets": secrets, "total": len(secrets)})

    def _logs(self, call: Call) -> Answer:
        for workspace in self._world.workspaces(call.path["org"]):
            for runtime in workspace.runtimes.values():
                instance = runtime.instance
                if instance is not None and instance.provider_sandbox_id == call.path["sandbox"]:
                    return Answer(body={"logs": f"{timestamp(instance.created_at)} runtime server ready\n"})
        raise self._platform.refuse(404, "Sandbox not found")


def _workspace(workspace: Workspace, default: Workspace) -> dict[str, Any]:
    created = timestamp(workspace.created_at)
    return {
        "id": workspace.id,
        "name": workspace.key,
        "key": workspace.key,
        "org_id": stable_uuid("organization", workspace.org),
        "is_default": workspace is default,
        "created_at": created,
        "updated_at": created,
    }


def _project(project: Project) -> dict[str, Any]:
    created = timestamp(project.created_at)
    return {
        "id": project.id,
        "key": project.key,
        "name": project.name,
        "description": project.description,
        "created_at": created,
        "updated_at": created,
    }
