"""Settings of what leaves the gateway under a pseudonym, and of how long what people did is kept."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, model_validator

from lineside_gateway.settings.section import Section


class Naming(StrEnum):
    """How something is named where others read it."""

    PLAIN = "plain"
    PSEUDONYM = "pseudonym"


class PrivacySettings(Section):
    """Pseudonyms are HMAC-SHA256 with the key in data_dir/privacy.key: the same name gives the same pseudonym."""

    operators: Naming = Field(
        default=Naming.PLAIN,
        description="Names of users and operators in the audit log, in labels and in what clients of the hosted "
        "server read.",
    )
    equipment: Naming = Field(
        default=Naming.PLAIN,
        description="Names of equipment, serial numbers, job orders and operators in what goes to broker and workers. "
        "The plant's own tag names and NodeIds never leave.",
    )
    drop: tuple[str, ...] = Field(
        default=(), description="Fields of records and snapshots that are emptied before they go to broker and workers."
    )
    labels_days: int = Field(
        default=400, ge=1, le=36_500, description="Days that operators' answers are kept as labels for training."
    )
    journal_days: int = Field(
        default=30,
        ge=1,
        le=36_500,
        description="Days of plant time that settled decisions stay in the guard's journal.",
    )

    @model_validator(mode="after")
    def _drops_where_it_masks(self) -> PrivacySettings:
        if self.drop and self.equipment is Naming.PLAIN:
            raise ValueError("drop empties fields of what leaves under pseudonyms; set equipment: pseudonym too")
        return self
