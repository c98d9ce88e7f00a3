"""RefPlant: a simulated plant behind real OPC UA servers. It knows nothing of Lineside."""

from lineside_plant.errors import CommandError, PlantError, RecordingError, SpecError
from lineside_plant.events import PLANT_EPOCH, EventKind, PlantEvent, TagChange, time_us
from lineside_plant.kpis import Counts, Kpis
from lineside_plant.machines import Hidden, Mode, State
from lineside_plant.orders import JobOrder, OrderState
from lineside_plant.plant import Observe, Plant, PlantOutput
from lineside_plant.policies import (
    Dispatch,
    Inspection,
    Maintenance,
    Policy,
    Tools,
    baseline_policy,
    external_policy,
    family_first_policy,
    oracle_policy,
)
from lineside_plant.signals import SAMPLED_TAGS, MachineSamples
from lineside_plant.spec import MACHINES, PlantSpec
from lineside_plant.tags import TAGS, Tag, TagType, tags_of

__all__ = [
    "MACHINES",
    "PLANT_EPOCH",
    "SAMPLED_TAGS",
    "TAGS",
    "CommandError",
    "Counts",
    "Dispatch",
    "EventKind",
    "Hidden",
    "Inspection",
    "JobOrder",
    "Kpis",
    "MachineSamples",
    "Maintenance",
    "Mode",
    "Observe",
    "OrderState",
    "Plant",
    "PlantError",
    "PlantEvent",
    "PlantOutput",
    "PlantSpec",
    "Policy",
    "RecordingError",
    "SpecError",
    "State",
    "Tag",
    "TagChange",
    "TagType",
    "Tools",
    "baseline_policy",
    "external_policy",
    "family_first_policy",
    "oracle_policy",
    "tags_of",
    "time_us",
]
