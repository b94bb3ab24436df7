"""The base class of all sections of the settings, also of those of the adapters."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Base of all sections: unknown settings are refused, and no message contains a value.

    A model is built when its first value is validated. ``model_construct()`` makes defaults without building it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True)
