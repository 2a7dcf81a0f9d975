"""What every part of the configuration is made of."""

from pydantic import BaseModel, ConfigDict


class StrictModel(BaseModel):
    """Frozen; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())
