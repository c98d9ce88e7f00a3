"""Several gateways over one line, one of them leading each shard."""

from __future__ import annotations

from pydantic import Field, model_validator

from lineside_gateway.settings.section import Name, Section


class ShardSettings(Section):
    """Equipment that one member leads at a time. Equipment belongs to the first shard whose pattern fits."""

    name: Name = Field(description="Name of the shard, unique in the fleet.")
    equipment: str | tuple[str, ...] = Field(
        default="*", description="equipment_ids or glob patterns; tasks of the whole line go by gateway.id."
    )
    prefer: Name | None = Field(
        default=None, description="Member that leads it whenever it is there. Default: whoever comes first."
    )

    @property
    def patterns(self) -> tuple[str, ...]:
        """Glob patterns, always a tuple."""
        return (self.equipment,) if isinstance(self.equipment, str) else self.equipment


class FleetSettings(Section):
    """Gateways with the same gateway.id, broker and shards; each has a member name and a data_dir of its own.

    The members of a fleet read the same tags; for each shard the one that holds its lease at the broker acts, the
    others stand by. Without the broker nobody holds a lease, and nothing is written to the plant.
    """

    member: Name = Field(description="Name of this gateway among them, unique; for example ${HOSTNAME}.")
    lease_s: float = Field(
        default=5.0,
        ge=1,
        le=60,
        description="How long a member leads on without a word from the broker; it writes for 4/5 of that.",
    )
    return_after_s: float = Field(
        default=600.0,
        ge=0,
        le=86_400,
        description="How long a preferred member fills its windows after its start before it asks for its shards.",
    )
    shards: tuple[ShardSettings, ...] = Field(
        default=(ShardSettings(name="all"),), min_length=1, description="Shards; the last takes what is left ('*')."
    )

    @model_validator(mode="after")
    def _whole(self) -> FleetSettings:
        names = [s.name for s in self.shards]
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(f"shard name {', '.join(twice)} is used twice; names are unique")
        if "*" not in self.shards[-1].patterns:
            raise ValueError(f"the last shard '{names[-1]}' leaves equipment without a shard; give it equipment: '*'")
        return self
