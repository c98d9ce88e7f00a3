"""Settings of one OPC UA server: endpoint, security, sampling, reconnecting."""

from __future__ import annotations

import fnmatch
from enum import StrEnum

from pydantic import Field, SecretStr, model_validator

from lineside_gateway.settings.section import FilePath, Name, OpcUrl, Section


class SecurityPolicy(StrEnum):
    """OPC UA Part 7 security policies offered; deprecated ones are left out."""

    NONE = "None"
    BASIC256SHA256 = "Basic256Sha256"
    AES128 = "Aes128Sha256RsaOaep"
    AES256 = "Aes256Sha256RsaPss"


class SecurityMode(StrEnum):
    """OPC UA Part 4, 7.20 MessageSecurityMode."""

    NONE = "None"
    SIGN = "Sign"
    SIGN_AND_ENCRYPT = "SignAndEncrypt"


class Report(StrEnum):
    """When a server reports a tag (OPC UA Part 4, 7.22.2 DataChangeTrigger)."""

    TIMESTAMP = "timestamp"
    VALUE = "value"


class TagSampling(Section):
    """How a server samples tags whose name matches; what is left out is as for the others."""

    sampling_interval_ms: float | None = Field(default=None, ge=-1, le=3_600_000, description="Sampling interval.")
    queue_size: int | None = Field(default=None, ge=1, le=100_000, description="Values held between two publishes.")
    deadband: float | None = Field(
        default=None, gt=0, description="Smallest change of value that is reported, in the tag's unit."
    )
    deadband_percent: float | None = Field(
        default=None, gt=0, le=100, description="The same in percent of the node's EURange."
    )

    @model_validator(mode="after")
    def _one_deadband(self) -> TagSampling:
        if self.deadband is not None and self.deadband_percent is not None:
            raise ValueError("deadband and deadband_percent are both set; keep one")
        return self

    @property
    def has_deadband(self) -> bool:
        """True where small changes are left out."""
        return self.deadband is not None or self.deadband_percent is not None


class Profile(StrEnum):
    """Servers whose limits are known; a profile sets defaults, what the file says counts."""

    GENERIC = "generic"
    S7_1200 = "s7-1200"
    S7_1500 = "s7-1500"


_PROFILES: dict[str, dict[str, float]] = {
    Profile.S7_1200: {
        "max_monitored_items": 1000, "batch_size": 100, "publishing_interval_ms": 500.0, "sampling_interval_ms": 500.0,
        "queue_size": 10,
    },
    Profile.S7_1500: {
        "max_monitored_items": 1000, "batch_size": 200, "publishing_interval_ms": 200.0, "sampling_interval_ms": 200.0,
        "queue_size": 10,
    },
}  # fmt: skip
"""1,000 monitored items; batches beyond 200 have been measured to be fifty times slower. The queue is small because
these servers sample no faster than they publish."""


class SecuritySettings(Section):
    """How a session is secured. Exactly this is used or the session is refused; nothing weaker is tried."""

    policy: SecurityPolicy = Field(default=SecurityPolicy.NONE, description="Security policy of the endpoint.")
    mode: SecurityMode | None = Field(
        default=None, description="Message security mode. Default: SignAndEncrypt with a policy, None without."
    )
    certificate: FilePath | None = Field(
        default=None, description="Own certificate, DER or PEM. Default: one is made in data_dir/pki/own."
    )
    private_key: FilePath | None = Field(default=None, description="Key of the own certificate, PEM. Both or neither.")
    trust: tuple[FilePath, ...] = Field(
        default=(), description="Server or CA certificates to trust, files or folders, besides data_dir/pki/trusted."
    )
    user_certificate: FilePath | None = Field(
        default=None, description="Certificate of the user, DER or PEM, instead of a password."
    )
    user_key: FilePath | None = Field(default=None, description="Key of user_certificate, PEM. Both or neither.")
    plaintext_password: bool = Field(
        default=False,
        description="Send the password where neither channel nor user token is encrypted. Never needed with a policy.",
    )
    user: str | None = Field(default=None, description="User name. Default: anonymous.")
    password: SecretStr | None = Field(default=None, description="Password; prefer password_file or ${ENV}.")
    password_file: FilePath | None = Field(
        default=None, description="File that holds the password; one trailing newline is cut."
    )

    @model_validator(mode="after")
    def _consistent(self) -> SecuritySettings:
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("certificate and private_key belong together; give both or neither")
        if (self.user_certificate is None) != (self.user_key is None):
            raise ValueError("user_certificate and user_key belong together; give both or neither")
        if self.user_certificate is not None and self.user is not None:
            raise ValueError("user and user_certificate are both set; keep one")
        if self.password is not None and self.password_file is not None:
            raise ValueError("password and password_file are both set; keep one")
        if self.user is None and (self.password is not None or self.password_file is not None):
            raise ValueError("a password is set without a user; add user")
        if self.policy is SecurityPolicy.NONE and self.mode not in {None, SecurityMode.NONE}:
            raise ValueError(f"mode {self.mode} needs a policy, such as Basic256Sha256")
        if self.policy is not SecurityPolicy.NONE and self.mode is SecurityMode.NONE:
            raise ValueError(f"policy {self.policy} with mode None secures nothing; use Sign or SignAndEncrypt")
        return self

    @property
    def effective_mode(self) -> SecurityMode:
        """The mode that is used, defaults filled in."""
        if self.mode is not None:
            return self.mode
        return SecurityMode.NONE if self.policy is SecurityPolicy.NONE else SecurityMode.SIGN_AND_ENCRYPT


class ServerSettings(Section):
    """One OPC UA server the gateway reads from and writes to."""

    name: Name = Field(description="Name used by equipment, job_control and in messages.")
    url: OpcUrl = Field(description="Endpoint, opc.tcp://host:port/path.")
    alternates: tuple[OpcUrl, ...] = Field(
        default=(),
        description="Endpoints of the same server's redundant partners; the one with the highest ServiceLevel is used.",
    )
    security: SecuritySettings = Field(default_factory=SecuritySettings, description="Security of the session.")
    profile: Profile = Field(
        default=Profile.GENERIC,
        description="Known limits of a kind of server, as defaults of batch_size, max_monitored_items, queue_size, "
        "publishing_interval_ms and sampling_interval_ms.",
    )
    publishing_interval_ms: float = Field(
        default=100.0, ge=10, le=60_000, description="How often the server sends what has changed."
    )
    sampling_interval_ms: float = Field(
        default=0.0, ge=-1, le=3_600_000, description="How often the server samples a node; 0 = as fast as it can."
    )
    queue_size: int = Field(
        default=1000,
        ge=1,
        le=100_000,
        description="Values a server holds per tag between two publishes; lost when exceeded.",
    )
    sampling: dict[str, TagSampling] = Field(
        default_factory=dict,
        description="Tag, or glob over tags -> how it is sampled, where it differs; the first that matches counts.",
    )
    max_monitored_items: int = Field(
        default=1_000_000, ge=0, description="Items the server monitors at most; further tags are polled."
    )
    poll_interval_s: float = Field(
        default=1.0, gt=0, le=3600, description="How often tags are read that the server does not monitor."
    )
    report: Report = Field(
        default=Report.TIMESTAMP,
        description="timestamp: each new SourceTimestamp is a sample, even of an unchanged value; value: changes only.",
    )
    allowed_lateness_s: float = Field(
        default=2.0, ge=0, le=3600, description="Event time a window waits for late samples of this server."
    )
    request_timeout_s: float = Field(
        default=10.0, gt=0, le=300, description="Longest wait for the answer to one request."
    )
    history: bool = Field(
        default=True,
        description="Fill windows at start from the server's history, where its nodes allow HistoryRead: as far back "
        "as the longest window reaches, and the newest 4096 events. Read at the first connection only.",
    )
    history_timeout_s: float = Field(
        default=30.0,
        gt=0,
        le=600,
        description="Longest wait for the history, while live samples of this server wait; then they go on without.",
    )
    session_timeout_s: float = Field(
        default=60.0, ge=10, le=3600, description="How long the server keeps a session of a gateway that has gone."
    )
    reconnect_min_s: float = Field(default=0.5, gt=0, le=60, description="First wait before connecting again; doubles.")
    reconnect_max_s: float = Field(
        default=5.0,
        gt=0,
        le=3600,
        description="Longest wait before connecting again; a new session is asked for 8 times a minute at most.",
    )
    batch_size: int = Field(
        default=200,
        ge=1,
        le=10_000,
        description="Nodes per request at most; the server's OperationLimits lower it further.",
    )
    max_depth: int = Field(
        default=6, ge=1, le=20, description="Levels below a piece of equipment searched for its tags."
    )
    max_nodes: int = Field(
        default=5000, ge=1, le=1_000_000, description="Nodes browsed below one piece of equipment at most."
    )

    @model_validator(mode="before")
    @classmethod
    def _known_limits(cls, data: object) -> object:
        if isinstance(data, dict) and isinstance(data.get("profile"), str):
            return _PROFILES.get(data["profile"], {}) | data
        return data

    def sampling_of(self, tag: str) -> TagSampling:
        """How ``tag`` is sampled where it differs."""
        return next((s for pattern, s in self.sampling.items() if fnmatch.fnmatchcase(tag, pattern)), _AS_ALL)


_AS_ALL = TagSampling()
