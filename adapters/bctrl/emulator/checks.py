"""The API's rules for the body of a create, written down independently of what the adapter sends."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from gateway.testing.bodies import Integer


class Body(BaseModel):
    """Base of the body's objects. Undocumented members are not a fault."""

    model_config = ConfigDict(strict=True, alias_generator=to_camel)


class Proxy(Body):
    type: Literal["http", "socks5"]
    host: str
    port: Integer
    username: str = ""
    password: str = ""


class Config(Body):
    humanize: bool = False
    humanize_persona_id: Integer = 0
    solve_captchas: bool = False
    proxy: Proxy | None = None


class ProfileLaunch(Body):
    mode: Literal["profile"]
    profile_id: Annotated[str, Field(pattern=r"(?i)^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]


class EphemeralLaunch(Body):
    mode: Literal["ephemeral"]
    extension_ids: list[str] = []
    config: Config = Config()


class Create(Body):
    alias: str
    kind: Literal["browser"]
    driver: Literal["puppeteer", "playwright", "selenium", "stagehand"] = "playwright"
    launch: Annotated[ProfileLaunch | EphemeralLaunch, Field(discriminator="mode")] = EphemeralLaunch(mode="ephemeral")
