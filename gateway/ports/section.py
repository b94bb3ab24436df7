"""The base class of all sections of the settings, also of those of the adapters."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Base of all sections: unknown settings are refused, and no message contains a value."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
