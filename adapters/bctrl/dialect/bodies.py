"""The request body of a create in the workspaces API, its translation to the unified API, and that of its faults."""

from typing import Annotated, Any, Final, Literal

import msgspec
from pydantic import ConfigDict, Field, SecretStr
from pydantic.alias_generators import to_camel

from gateway.domain.config import Port, Uuid
from gateway.domain.errors import FieldError, InvalidRequest, ValidationFailed, pointer
from gateway.domain.requests import CreateBrowser
from gateway.domain.validation import Input, Integer, optional, validate

NATIVE_CODE: Final = "native_code"
"""The member of an error's ``extra`` that holds the API's code, where the error's class has no or another one."""

ALIAS_PATTERN: Final = r"^(?:\.{0,2}[^\x00-\x1f\x7f.]|\.{3})[^\x00-\x1f\x7f]*$"
"""The API accepts any text as an alias. A runtime whose alias cannot be a path segment could never be stopped."""


class Native(Input):
    """Base of the API's objects, in the API's spelling of members."""

    model_config = ConfigDict(alias_generator=to_camel)


class NativeProxy(Native):
    """``launch.config.proxy``."""

    type: Literal["http", "socks5"]
    host: str
    port: Port
    username: str = optional("")
    password: SecretStr = optional(SecretStr(""))


class NativeConfig(Native):
    """``launch.config``. ``proxy: null`` requests no proxy."""

    humanize: bool = optional(False)
    humanize_persona_id: Integer = optional(0)
    solve_captchas: bool = optional(False)
    proxy: NativeProxy | None = None


class NativeEphemeral(Native):
    """``launch`` without a profile. ``extensionIds`` is a sibling of ``config``."""

    mode: Literal["ephemeral"]
    extension_ids: list[str] = optional([])
    config: NativeConfig = optional(None)


class NativeProfile(Native):
    """``launch`` with a saved profile."""

    mode: Literal["profile"]
    profile_id: Uuid


class NativeCreate(Native):
    alias: Annotated[str, Field(max_length=200, pattern=ALIAS_PATTERN)]
    kind: Literal["browser"]
    driver: Literal["puppeteer", "playwright", "selenium", "stagehand"] = optional("playwright")
    launch: Annotated[NativeProfile | NativeEphemeral, Field(discriminator="mode")] = optional(None)


def read_create(raw: bytes) -> CreateBrowser:
    """Decode the body of a create.

    The alias becomes the name unchanged, also where the unified API would refuse it as a name. Raises
    :class:`InvalidRequest` for a body that is not JSON, and :class:`ValidationFailed`, with pointers into the native
    body, for one that is not a valid create.
    """
    try:
        body = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as exc:
        raise InvalidRequest("The body is not JSON.", extra={NATIVE_CODE: "request.invalid_json"}) from exc
    if not isinstance(body, dict):
        raise ValidationFailed.at("#", "The body has to be a JSON object.", code="type")
    native = validate(NativeCreate, body)
    unified = native.sent_fields({"kind": "kind", "driver": "driver"})
    if native.sent("launch"):
        unified["launch"] = _launch(native.launch)
    return CreateBrowser.model_validate(unified).model_copy(update={"name": native.alias})


def _launch(launch: NativeProfile | NativeEphemeral) -> dict[str, Any]:
    if isinstance(launch, NativeProfile):
        return launch.sent_fields()
    unified = launch.sent_fields({"mode": "mode", "extension_ids": "extension_ids"})
    if launch.sent("config"):
        unified |= launch.config.sent_fields()
        if launch.config.proxy is not None:
            unified["proxy"] = launch.config.proxy.sent_fields()
    return unified


_TOP: Final = {"name": "alias"}
_IN_CONFIG: Final = frozenset(NativeConfig.model_fields)


def native_fault(fault: FieldError) -> FieldError:
    """A fault of a field of the unified create as a fault of the native member."""
    if fault.pointer is None:
        return fault
    parts = fault.pointer.split("/")[1:]
    if len(parts) > 1 and parts[0] == "launch" and parts[1] in _IN_CONFIG:
        parts.insert(1, "config")
    where = pointer(*(to_camel(_TOP.get(part, part)) for part in parts))
    return FieldError(fault.detail, fault.code, pointer=where)


def native_member(fault: FieldError) -> str | None:
    """The member of the native body that a fault concerns (``launch.config.proxy.port``), or the query parameter or
    header. None for a fault of the whole body."""
    if fault.pointer is None:
        return fault.parameter or fault.header
    return fault.pointer.removeprefix("#").removeprefix("/").replace("/", ".") or None
