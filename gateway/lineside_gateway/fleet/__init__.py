"""Several gateways over one line: who leads which shard, what the others know of its effects, what is handed over."""

from lineside_gateway.fleet.handover import Handover
from lineside_gateway.fleet.leading import Leading, Sole
from lineside_gateway.fleet.lease import Leases, Standing
from lineside_gateway.fleet.member import Member
from lineside_gateway.fleet.overview import FleetNow, ShardNow, overview
from lineside_gateway.fleet.presence import Presence, Seen
from lineside_gateway.fleet.record import Entry, FleetJournal, SharedRecord
from lineside_gateway.fleet.shards import Shards
from lineside_gateway.fleet.standby import Held, Standby

__all__ = [
    "Entry",
    "FleetJournal",
    "FleetNow",
    "Handover",
    "Held",
    "Leading",
    "Leases",
    "Member",
    "Presence",
    "Seen",
    "ShardNow",
    "Shards",
    "SharedRecord",
    "Sole",
    "Standby",
    "Standing",
    "overview",
]
