"""Settings of what stands beside the data flow: heartbeats, audit log, store of requests, figures, broker."""

from __future__ import annotations

from pydantic import Field

from lineside_gateway.settings.section import FilePath, Section


class HeartbeatSettings(Section):
    """Counters by which PLC and gateway see that the other one lives. Either may be left out."""

    plant_tag: str | None = Field(
        default=None,
        min_length=1,
        description="Tag of the equipment that its PLC counts up; two periods without a change turn its nodes Bad, and "
        "nothing is written to it until it beats again.",
    )
    gateway_tag: str | None = Field(
        default=None,
        min_length=1,
        description="Writable tag of the equipment, counted up every period while worker, broker and model stand "
        "behind what may be written there; 0 at once when one of them is gone. For the PLC's own fallback.",
    )
    period_s: float = Field(default=6.0, ge=0.1, le=600, description="Wall-clock time between two beats.")


class AuditSettings(Section):
    """The audit log in data_dir/audit: every decision of the guard, every write, every answer of an operator."""

    keep_days: int = Field(default=400, ge=1, le=36_500, description="Files whose last line is older are deleted.")
    rotate_mb: int = Field(default=16, ge=1, le=1024, description="Size (MiB) at which a new file begins.")


class StoreSettings(Section):
    """Requests on disk, in data_dir/requests.sqlite, until they are written, expired, refused or parked."""

    max_mb: int = Field(
        default=1024, ge=1, le=1_048_576,
        description="Size (MiB) of what is kept; beyond it windows are answered as ever, but a restart forgets them.",
    )  # fmt: skip
    max_age_h: float = Field(
        default=24.0, gt=0, le=8760, description="What is older at a start is deleted without being looked at."
    )


class MetricsSettings(Section):
    """Figures for Prometheus at http://host:port/metrics."""

    port: int | None = Field(default=None, ge=1, le=65535, description="Port; without one nothing is served.")
    host: str = Field(default="127.0.0.1", description="Address to listen on; the figures need no password.")


class TracingSettings(Section):
    """OpenTelemetry traces of each batch, from the end of its windows to the hosted nodes; needs lineside[otel]."""

    endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://\S+$",
        description="OTLP over HTTP, such as http://collector:4318/v1/traces; without one nothing is traced.",
    )


class BrokerSettings(Section):
    """The Redis or Valkey server between gateway and workers."""

    url: str = Field(
        default="redis://127.0.0.1:6379/0",
        pattern=r"^(rediss?|unix|sentinels?)://\S+$",
        description="redis://[user@]host:port/0; rediss:// is TLS (?ssl_ca_certs=FILE); "
        "sentinel://host:26379,host:26379/MASTER, sentinels:// with TLS.",
    )
    password_file: FilePath | None = Field(default=None, description="File that holds the broker's password.")
