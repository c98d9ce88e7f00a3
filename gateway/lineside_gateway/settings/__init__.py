"""The gateway's settings: one YAML file, ``version: 1``."""

from lineside_gateway.settings.fleet import FleetSettings, ShardSettings
from lineside_gateway.settings.hosted import HostedLimitsSettings, HostedSecuritySettings
from lineside_gateway.settings.loader import (
    Problem,
    SettingsProblemsError,
    load_settings,
    read_settings,
    secret,
    settings_schema,
)
from lineside_gateway.settings.model import (
    AuditSettings,
    BrokerSettings,
    EquipmentSettings,
    EventSettings,
    GatewaySettings,
    HeartbeatSettings,
    JobControlSettings,
    Limit,
    Mode,
    Settings,
    TaskSettings,
    WriteSettings,
)
from lineside_gateway.settings.server import (
    Profile,
    Report,
    SecurityMode,
    SecurityPolicy,
    SecuritySettings,
    ServerSettings,
    TagSampling,
)

__all__ = [
    "AuditSettings",
    "BrokerSettings",
    "EquipmentSettings",
    "EventSettings",
    "FleetSettings",
    "GatewaySettings",
    "HeartbeatSettings",
    "HostedLimitsSettings",
    "HostedSecuritySettings",
    "JobControlSettings",
    "Limit",
    "Mode",
    "Problem",
    "Profile",
    "Report",
    "SecurityMode",
    "SecurityPolicy",
    "SecuritySettings",
    "ServerSettings",
    "Settings",
    "SettingsProblemsError",
    "ShardSettings",
    "TagSampling",
    "TaskSettings",
    "WriteSettings",
    "load_settings",
    "read_settings",
    "secret",
    "settings_schema",
]
