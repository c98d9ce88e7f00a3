"""The gateway's settings as frozen models; descriptions, defaults and bounds live here and nowhere else.

Docs, the JSON Schema and ``lineside check`` are generated from these fields.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from lineside_gateway.settings.fleet import FleetSettings
from lineside_gateway.settings.hosted import HostedLimitsSettings, HostedSecuritySettings
from lineside_gateway.settings.privacy import PrivacySettings
from lineside_gateway.settings.recording import RecordingSettings
from lineside_gateway.settings.section import FilePath, Name, OpcUrl, Scalar, Section
from lineside_gateway.settings.server import ServerSettings
from lineside_gateway.settings.services import (
    AuditSettings,
    BrokerSettings,
    HeartbeatSettings,
    MetricsSettings,
    StoreSettings,
    TracingSettings,
)


class Mode(StrEnum):
    """What a recommendation may do to the plant, weakest first."""

    OFF = "off"
    SHADOW = "shadow"
    ADVISORY = "advisory"
    CONFIRM = "confirm"
    CLOSED_LOOP = "closed_loop"


class EquipmentSettings(Section):
    """Equipment of one server. A glob in ``browse`` makes each match one piece of equipment, named by BrowseName."""

    id: Name | None = Field(default=None, description="equipment_id. Leave out when browse holds a glob.")
    server: Name | None = Field(default=None, description="Server that hosts it. Default: the only server.")
    browse: str = Field(description="Browse path ('Objects/A1', 'Objects/Line*/A?') or NodeId ('nsu=...;s=...').")
    site: str = Field(default="", description="ISA-95 site.")
    area: str = Field(default="", description="ISA-95 area.")
    work_center: str = Field(default="", description="ISA-95 work center.")
    tags: dict[str, str] = Field(
        default_factory=dict, description="Task tag -> browse path below this equipment or NodeId; adds to tags."
    )

    @model_validator(mode="after")
    def _id_or_glob(self) -> EquipmentSettings:
        if self.id is not None and self.has_glob:
            raise ValueError(f"id '{self.id}' with a glob in browse '{self.browse}' names many machines alike; drop id")
        return self

    @property
    def has_glob(self) -> bool:
        """True where ``browse`` may match several nodes."""
        return not self.browse.startswith(("nsu=", "ns=", "i=", "s=", "g=", "b=")) and any(
            c in self.browse for c in "*?["
        )


class JobControlSettings(Section):
    """The MES's ISA-95 Job Control object (OPC 10031-4)."""

    server: Name = Field(description="Server that hosts the job order receiver.")
    browse: str = Field(
        default="Objects/JobOrderReceiver", description="Browse path or NodeId of the job order receiver."
    )
    counters: tuple[str, ...] = Field(
        default=(), description="Counters of the receiver to read besides those that acknowledge an effect."
    )


class EventSettings(Section):
    """Where events come from and which of their fields become a record of stream ``events``."""

    server: Name = Field(description="Server that emits the events.")
    node: str = Field(
        default="i=2253", description="Event notifier: browse path or NodeId; i=2253 is the Server object."
    )
    type: str = Field(default="", description="BrowseName of the event type; default: any type that has the fields.")
    fields: dict[str, str] = Field(
        default_factory=lambda: {
            "kind": "Kind",
            "equipment_id": "EquipmentId",
            "serial_no": "SerialNo",
            "mode": "Mode",
            "value": "Value",
            "porous": "Porous",
            "defect": "Defect",
            "text": "Text",
        },
        description="Record field -> BrowseName of the event field.",
    )


class Limit(Section):
    """Bounds of one written tag, on top of the node's own EURange."""

    low: float | None = Field(default=None, description="Lowest value written.")
    high: float | None = Field(default=None, description="Highest value written.")
    step: float | None = Field(default=None, gt=0, description="Largest change from the value the node holds.")

    @model_validator(mode="after")
    def _ordered(self) -> Limit:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        return self


COMMAND_ID = "{command_id}"


class AcknowledgeBy(StrEnum):
    """How the acknowledge tag says that the plant has acted."""

    COUNT = "count"
    COMMAND_ID = "command_id"


class WriteSettings(Section):
    """One effect on the plant: tags to set in order, or job orders to update. Only these nodes are ever written."""

    set: dict[str, Scalar] = Field(
        default_factory=dict,
        description="Tag -> value or '{output field}', written in this order on the equipment. Besides outputs: "
        "{command_id}, {key}, {window_end}, {valid_until}, {confidence}.",
    )
    update_job_orders: str | None = Field(
        default=None, description="Output field that holds the job-order records to send to the MES."
    )
    acknowledge: str | None = Field(
        default=None,
        description="Counter tag that rises when the plant has acted: of the equipment or the job order receiver.",
    )
    acknowledge_by: AcknowledgeBy = Field(
        default=AcknowledgeBy.COUNT,
        description="count: the acknowledge tag rises by one; command_id: it takes the id that set writes as "
        "'{command_id}'.",
    )
    limits: dict[str, Limit] = Field(default_factory=dict, description="Tag -> bounds of the values written.")
    rate_per_min: float = Field(
        default=30.0,
        gt=0,
        le=6000,
        description="Writes per piece of equipment and minute at most; more are refused, counted.",
    )
    read_back: bool = Field(default=True, description="Read each tag after writing it and compare.")

    @model_validator(mode="after")
    def _one_effect(self) -> WriteSettings:
        if bool(self.set) == (self.update_job_orders is not None):
            raise ValueError("give exactly one of set and update_job_orders")
        if self.acknowledge_by is AcknowledgeBy.COMMAND_ID and (
            self.acknowledge is None or COMMAND_ID not in self.set.values()
        ):
            raise ValueError(f"acknowledge_by command_id needs acknowledge, and a tag in set that is '{COMMAND_ID}'")
        stray = sorted(set(self.limits) - set(self.set))
        if stray:
            raise ValueError(f"limits name {', '.join(stray)}, which set does not write")
        return self


class TaskSettings(Section):
    """One task bound to equipment, with its mode and its effects."""

    task: Name = Field(description="Installed task, as 'lineside tasks' lists it.")
    equipment: str | tuple[str, ...] = Field(
        default="*", description="equipment_ids or glob patterns the task applies to."
    )
    mode: Mode = Field(default=Mode.ADVISORY, description="off | shadow | advisory | confirm | closed_loop.")
    config: dict[str, object] = Field(default_factory=dict, description="The task's own configuration.")
    write: tuple[WriteSettings, ...] = Field(
        default=(), description="Effects on the plant, used in confirm and closed_loop."
    )
    min_quality: float = Field(
        default=0.5, ge=0, le=1, description="Share of a window's samples that must be Good for anything to be written."
    )
    acknowledge_within_s: float = Field(
        default=4 * 3600.0,
        gt=0,
        le=7 * 86_400,
        description="Plant time in which the plant answers a write, which is not repeated until then; a lot at least.",
    )
    max_batch_size: int = Field(default=32, ge=1, le=4096, description="Windows per batch at most.")
    max_wait_s: float = Field(default=0.05, ge=0, le=60, description="Wall-clock wait for a batch to fill.")
    max_waiting: int = Field(
        default=4096, ge=1, le=1_000_000,
        description="Windows that wait for a worker at most; beyond that the oldest are dropped, counted as expired.",
    )  # fmt: skip

    @property
    def equipment_patterns(self) -> tuple[str, ...]:
        """Glob patterns, always a tuple."""
        return (self.equipment,) if isinstance(self.equipment, str) else self.equipment


class GatewaySettings(Section):
    """The gateway itself and the OPC UA server it hosts."""

    id: Name = Field(default="line-1", description="Name of this gateway; result stream and hosted namespace carry it.")
    endpoint: OpcUrl = Field(
        default="opc.tcp://127.0.0.1:4850/lineside", description="Endpoint of the hosted OPC UA server."
    )
    data_dir: FilePath = Field(
        default=Path("var"), description="Folder for certificates, stored requests, audit log, history and labels."
    )
    security: HostedSecuritySettings = Field(
        default_factory=HostedSecuritySettings, description="Who may come to the hosted server."
    )
    limits: HostedLimitsSettings = Field(
        default_factory=HostedLimitsSettings, description="How much its clients may take."
    )
    history_h: float = Field(
        default=24.0, ge=0, le=8760, description="Hours of recommendations and events that clients can read back."
    )
    nodesets: FilePath | None = Field(
        default=None,
        description="Folder of official companion nodesets (*.xml): DI, MachineTool, Machinery/Result and ISA-95 "
        "Job Control are then shown beside the own types.",
    )
    advisory_only: bool = Field(
        default=False, description="Hold every mode above advisory at advisory, whatever the plant-wide switch says."
    )

    @property
    def users_file(self) -> Path:
        """File of the hosted server's users."""
        return self.security.users_file or self.data_dir / "users.yaml"


class Settings(Section):
    """The whole file."""

    version: Literal[1] = Field(description="Format version of the file; 1.")
    gateway: GatewaySettings = Field(default_factory=GatewaySettings, description="The gateway itself.")
    broker: BrokerSettings = Field(default_factory=BrokerSettings, description="Broker to the workers.")
    fleet: FleetSettings | None = Field(
        default=None, description="Several gateways over one line, each of which takes over when another is lost."
    )
    heartbeat: HeartbeatSettings = Field(
        default_factory=HeartbeatSettings, description="Heartbeats between PLCs and gateway."
    )
    metrics: MetricsSettings = Field(default_factory=MetricsSettings, description="Figures for Prometheus.")
    tracing: TracingSettings = Field(default_factory=TracingSettings, description="OpenTelemetry traces.")
    store: StoreSettings = Field(default_factory=StoreSettings, description="The store of requests.")
    audit: AuditSettings = Field(default_factory=AuditSettings, description="The audit log.")
    privacy: PrivacySettings = Field(
        default_factory=PrivacySettings, description="Pseudonyms, and how long what people did is kept."
    )
    recording: RecordingSettings | None = Field(
        default=None, description="Tags, events, recommendations and answers as Parquet. Default: nothing is recorded."
    )
    servers: tuple[ServerSettings, ...] = Field(min_length=1, description="OPC UA servers of the plant.")
    equipment: tuple[EquipmentSettings, ...] = Field(min_length=1, description="Equipment on those servers.")
    tags: dict[str, str] = Field(
        default_factory=dict, description="Task tag -> browse path below the equipment, where it differs from the tag."
    )
    job_control: JobControlSettings | None = Field(default=None, description="The MES's job orders.")
    events: tuple[EventSettings, ...] | None = Field(
        default=None, description="Sources of events. Default: the Server object of job_control's server."
    )
    tasks: tuple[TaskSettings, ...] = Field(min_length=1, description="Tasks bound to equipment.")

    @field_validator("servers")
    @classmethod
    def _unique_servers(cls, servers: tuple[ServerSettings, ...]) -> tuple[ServerSettings, ...]:
        names = [s.name for s in servers]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"server name {', '.join(twice)} is used twice; names are unique")
        return servers
