"""The body of a create in the words of seed 004, as the clients of the workspaces API send it, and back into ours."""

from typing import Annotated, Any, Final, Literal

import msgspec
from pydantic import ConfigDict, Field, SecretStr
from pydantic.alias_generators import to_camel

from adapters.bctrl.wire import Code
from gateway.domain.config import Port, Uuid
from gateway.domain.errors import FieldError, InvalidRequest, ValidationFailed, pointer
from gateway.domain.requests import CreateBrowser
from gateway.domain.validation import Input, Integer, optional, validate

NATIVE_CODE: Final = "native_code"
"""The member of an error's ``extra`` that says which of the API's codes it has, where its class does not tell."""

ALIAS_PATTERN: Final = r"^(?:\.{0,2}[^\x00-\x1f\x7f.]|\.{3})[^\x00-\x1f\x7f]*$"
"""An alias is any text to the API; what cannot be one segment of its paths could not be stopped again."""


class Native(Input):
    """Base of the API's objects, in their own spelling."""

    model_config = ConfigDict(alias_generator=to_camel)


class NativeProxy(Native):
    """``launch.config.proxy``."""

    type: Literal["http", "socks5"]
    host: str
    port: Port
    username: str = optional("")
    password: SecretStr = optional(SecretStr(""))


class NativeConfig(Native):
    """``launch.config``. ``proxy: null`` asks for no proxy."""

    humanize: bool = optional(False)
    humanize_persona_id: Integer = optional(0)
    solve_captchas: bool = optional(False)
    proxy: NativeProxy | None = None


class NativeEphemeral(Native):
    """``launch`` with nothing kept. ``extensionIds`` stands beside ``config``."""

    mode: Literal["ephemeral"]
    extension_ids: list[str] = optional([])
    config: NativeConfig = optional(None)


class NativeProfile(Native):
    """``launch`` with a saved profile."""

    mode: Literal["profile"]
    profile_id: Uuid


class NativeCreate(Native):
    """The body of a create."""

    alias: Annotated[str, Field(max_length=200, pattern=ALIAS_PATTERN)]
    kind: Literal["browser"]
    driver: Literal["puppeteer", "playwright", "selenium", "stagehand"] = optional("playwright")
    launch: Annotated[NativeProfile | NativeEphemeral, Field(discriminator="mode")] = optional(None)


def read_create(raw: bytes) -> CreateBrowser:
    """The create that a body asks for.

    The alias becomes the name as it is, also where the unified API would not take it for one. Raises
    :class:`InvalidRequest` for what is not a JSON object, and :class:`ValidationFailed` with native pointers.
    """
    try:
        body = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as exc:
        raise InvalidRequest("The body is not JSON.", extra={NATIVE_CODE: Code.REQUEST_INVALID_JSON}) from exc
    if not isinstance(body, dict):
        raise ValidationFailed.at("#", "The body has to be a JSON object.", code="type")
    native = validate(NativeCreate, body)
    ours: dict[str, Any] = {"kind": native.kind}
    if native.sent("driver"):
        ours["driver"] = native.driver
    if native.sent("launch"):
        ours["launch"] = _launch(native.launch)
    return CreateBrowser.model_validate(ours).model_copy(update={"name": native.alias})


def _launch(launch: NativeProfile | NativeEphemeral) -> dict[str, Any]:
    if isinstance(launch, NativeProfile):
        return {"mode": launch.mode, "profile_id": launch.profile_id}
    ours: dict[str, Any] = {"mode": launch.mode}
    if launch.sent("extension_ids"):
        ours["extension_ids"] = launch.extension_ids
    if launch.sent("config"):
        ours |= {field: getattr(launch.config, field) for field in launch.config.model_fields_set}
        if launch.config.proxy is not None:
            proxy = launch.config.proxy
            ours["proxy"] = {field: getattr(proxy, field) for field in proxy.model_fields_set}
    return ours


_TOP: Final = {"name": "alias"}
_IN_CONFIG: Final = frozenset(NativeConfig.model_fields)


def native_fault(fault: FieldError) -> FieldError:
    """A fault of a field of the create, as one of the member of the native body."""
    if fault.pointer is None:
        return fault
    parts = fault.pointer.split("/")[1:]
    if len(parts) > 1 and parts[0] == "launch" and parts[1] in _IN_CONFIG:
        parts.insert(1, "config")
    where = pointer(*(to_camel(_TOP.get(part, part)) for part in parts))
    return FieldError(fault.detail, fault.code, pointer=where)


def native_member(fault: FieldError) -> str | None:
    """The member of a native body that a fault is about (``launch.config.proxy.port``), or the parameter or header;
    None for one of the whole body."""
    if fault.pointer is None:
        return fault.parameter or fault.header
    return fault.pointer.removeprefix("#").removeprefix("/").replace("/", ".") or None
