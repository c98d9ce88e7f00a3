"""Base and field types of every section of the settings file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo


def _beside_the_file(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder")
    return path if folder is None else Path(folder) / path.expanduser()


Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$")]
OpcUrl = Annotated[str, Field(pattern=r"^opc\.tcp://[^\s/]+(/\S*)?$")]
FilePath = Annotated[Path, AfterValidator(_beside_the_file)]
"""A path; a relative one counts from the folder of the settings file."""
Scalar = bool | int | float | str


class Section(BaseModel):
    """Base of every section: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
