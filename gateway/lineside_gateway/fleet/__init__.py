"""Several gateways over one line: who leads which shard, what the others know of its effects, what is handed over."""

from lineside_gateway.fleet.handover import Handover
from lineside_gateway.fleet.leading import Leading, Sole
from lineside_gateway.fleet.lease import Leases, Standing
from lineside_gateway.fleet.member import Member
from lineside_gateway.fleet.record import Entry, FleetJournal, SharedRecord
from lineside_gateway.fleet.shards import Shards
from lineside_gateway.fleet.standby import Held, Standby

__all__ = [
    "Entry",
    "FleetJournal",
    "Handover",
    "Held",
    "Leading",
    "Leases",
    "Member",
    "Shards",
    "SharedRecord",
    "Sole",
    "Standby",
    "Standing",
]
