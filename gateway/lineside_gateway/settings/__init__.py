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
    EquipmentSettings,
    EventSettings,
    GatewaySettings,
    JobControlSettings,
    Limit,
    Mode,
    Settings,
    TaskSettings,
    WriteSettings,
)
from lineside_gateway.settings.privacy import Naming, PrivacySettings
from lineside_gateway.settings.recording import RecordingSettings
from lineside_gateway.settings.server import (
    Profile,
    Report,
    SecurityMode,
    SecurityPolicy,
    SecuritySettings,
    ServerSettings,
    TagSampling,
)
from lineside_gateway.settings.services import AuditSettings, BrokerSettings, HeartbeatSettings

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
    "Naming",
    "PrivacySettings",
    "Problem",
    "Profile",
    "RecordingSettings",
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
