"""Settings of who may come to the hosted OPC UA server, and how much one client may take of it."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from lineside_gateway.settings.section import FilePath, Section
from lineside_gateway.settings.server import SecurityMode, SecurityPolicy


class HostedSecuritySettings(Section):
    """Who gets in. By default users with certificate-secured connections; `lineside users add` makes them."""

    anonymous: bool = Field(
        default=False,
        description="Let everyone browse and read over an unsecured connection, without user; meant for loopback.",
    )
    policies: tuple[SecurityPolicy, ...] = Field(
        default=(SecurityPolicy.BASIC256SHA256, SecurityPolicy.AES128, SecurityPolicy.AES256),
        description="Security policies offered: Basic256Sha256, Aes128Sha256RsaOaep, Aes256Sha256RsaPss.",
    )
    modes: tuple[SecurityMode, ...] = Field(
        default=(SecurityMode.SIGN, SecurityMode.SIGN_AND_ENCRYPT),
        description="Message security modes offered with each policy: Sign, SignAndEncrypt.",
    )
    trust: tuple[FilePath, ...] = Field(
        default=(), description="Client or CA certificates to trust, files or folders, besides data_dir/pki/trusted."
    )
    users_file: FilePath | None = Field(
        default=None, description="File of the users. Default: data_dir/users.yaml; `lineside users` keeps it."
    )
    login_attempts: int = Field(
        default=5, ge=1, le=100, description="Wrong passwords in a row after which a name is refused from that address."
    )
    lockout_s: float = Field(default=300.0, ge=1, le=86_400, description="How long it is refused then.")

    @field_validator("policies")
    @classmethod
    def _secured(cls, policies: tuple[SecurityPolicy, ...]) -> tuple[SecurityPolicy, ...]:
        if SecurityPolicy.NONE in policies:
            raise ValueError("policy None secures nothing; for readers without user set anonymous: true")
        return policies

    @model_validator(mode="after")
    def _some_way_in(self) -> HostedSecuritySettings:
        if SecurityMode.NONE in self.modes:
            raise ValueError("mode None secures nothing; for readers without user set anonymous: true")
        if not self.anonymous and not (self.policies and self.modes):
            raise ValueError("without policies and modes nobody can come in; name some, or set anonymous: true")
        return self


class HostedLimitsSettings(Section):
    """How much clients may take of the hosted server; what exceeds it is refused or cut, the others are served."""

    connections: int = Field(default=200, ge=1, le=10_000, description="Connections at a time.")
    connections_per_address: int = Field(default=100, ge=1, le=10_000, description="Connections of one address.")
    pending: int = Field(
        default=64, ge=1, le=10_000, description="Connections at a time that have not activated a session."
    )
    pending_per_address: int = Field(default=32, ge=1, le=10_000, description="Of these, from one address.")
    activation_timeout_s: float = Field(
        default=5.0, gt=0, le=300, description="Longest time a connection may be without an active session."
    )
    message_bytes: int = Field(
        default=524_288, ge=65_536, le=67_108_864,
        description="Largest request of an active session; before activation 65,535 bytes.",
    )  # fmt: skip
    unsent_bytes: int = Field(
        default=8_388_608, ge=65_536, le=1_073_741_824,
        description="Answers a client may leave unread before its connection is cut.",
    )  # fmt: skip
    sessions: int = Field(default=100, ge=1, le=10_000, description="Sessions at a time.")
    nodes_per_request: int = Field(
        default=1_000, ge=10, le=100_000, description="Nodes, items or methods in one request."
    )
    subscriptions: int = Field(default=200, ge=1, le=10_000, description="Subscriptions at a time.")
    subscriptions_per_session: int = Field(default=20, ge=1, le=1_000, description="Of these, in one session.")
    items_per_subscription: int = Field(
        default=20_000, ge=1, le=1_000_000, description="Monitored items in one subscription."
    )
    publishing_interval_ms: float = Field(
        default=20.0, ge=1, le=60_000, description="Shortest publishing interval granted."
    )
