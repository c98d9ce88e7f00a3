"""What a recommendation may do to the plant, and how it is done."""

from lineside_gateway.guard.decision import Decision
from lineside_gateway.guard.effects import JobOrderNow, JobOrderUpdate, TagWrite
from lineside_gateway.guard.envelope import Target, target
from lineside_gateway.guard.guard import Guard
from lineside_gateway.guard.policy import JOB_CONTROL, Policy
from lineside_gateway.guard.refusal import Refusal, Refused
from lineside_gateway.guard.steps import Fate, PlantWriter, Step, StepReport, WriteOutcome
from lineside_gateway.guard.write_back import WriteBack

__all__ = [
    "JOB_CONTROL",
    "Decision",
    "Fate",
    "Guard",
    "JobOrderNow",
    "JobOrderUpdate",
    "PlantWriter",
    "Policy",
    "Refusal",
    "Refused",
    "Step",
    "StepReport",
    "TagWrite",
    "Target",
    "WriteBack",
    "WriteOutcome",
    "target",
]
