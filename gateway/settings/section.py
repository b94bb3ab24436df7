"""What all sections of the settings have in common."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Base of all sections: unknown settings are refused, and no value shows up in a message."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
