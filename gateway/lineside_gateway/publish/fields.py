"""The Variables of a recommendation: what each is called, its data type, and how it looks as a flat scalar."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from asyncua import ua

from lineside_gateway.publish.names import browse_name, unique_field
from lineside_gateway.settings.model import Mode
from lineside_plugins.contract import DataType, OutputField, Outputs
from lineside_plugins.types import Recommendation


class FieldType(StrEnum):
    """Data type of a hosted Variable, named as in OPC UA Part 6; ``REASONS`` is an array of ReasonDataType.

    ``STATE`` and ``MODE`` are enumerations whose flat twins are words.
    """

    BOOLEAN = "Boolean"
    INT32 = "Int32"
    UINT32 = "UInt32"
    UINT64 = "UInt64"
    DOUBLE = "Double"
    STRING = "String"
    DATE_TIME = "DateTime"
    JSON = "Json"
    REASONS = "Reasons"
    STATE = "State"
    MODE = "Mode"


_OF_OUTPUT = {
    DataType.BOOLEAN: FieldType.BOOLEAN,
    DataType.INT32: FieldType.INT32,
    DataType.DOUBLE: FieldType.DOUBLE,
    DataType.STRING: FieldType.STRING,
    DataType.DATE_TIME: FieldType.DATE_TIME,
    DataType.RECORDS: FieldType.JSON,
}
VARIANT = {
    FieldType.BOOLEAN: ua.VariantType.Boolean,
    FieldType.INT32: ua.VariantType.Int32,
    FieldType.UINT32: ua.VariantType.UInt32,
    FieldType.UINT64: ua.VariantType.UInt64,
    FieldType.DOUBLE: ua.VariantType.Double,
    FieldType.STRING: ua.VariantType.String,
    FieldType.DATE_TIME: ua.VariantType.DateTime,
    FieldType.JSON: ua.VariantType.String,
    FieldType.REASONS: ua.VariantType.ExtensionObject,
    FieldType.STATE: ua.VariantType.Int32,
    FieldType.MODE: ua.VariantType.Int32,
}
_FLAT = {
    FieldType.BOOLEAN: FieldType.BOOLEAN,
    FieldType.INT32: FieldType.DOUBLE,
    FieldType.UINT32: FieldType.DOUBLE,
    FieldType.UINT64: FieldType.DOUBLE,
    FieldType.DOUBLE: FieldType.DOUBLE,
}


class State(StrEnum):
    """Where a recommendation stands."""

    PROPOSED = "proposed"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    WRITTEN = "written"
    ACKNOWLEDGED = "acknowledged"
    EXPIRED = "expired"
    REFUSED = "refused"


ENUMERATIONS = {FieldType.STATE: tuple(s.value for s in State), FieldType.MODE: tuple(m.value for m in Mode)}
"""Words of the enumerations; a word's number is its place, so the order is an interface."""


@dataclass(frozen=True, slots=True)
class Field:
    """One hosted Variable of a recommendation. ``output`` names the declared output it shows, "" for a common one."""

    name: str
    field_type: FieldType
    description: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    output: str = ""

    @property
    def browse_name(self) -> str:
        """Name below the recommendation's object."""
        return browse_name(self.name)

    @property
    def flat_type(self) -> FieldType | None:
        """Boolean, Double or String for HMIs that show scalars only; None where there is no flat twin."""
        return None if self.field_type is FieldType.REASONS else _FLAT.get(self.field_type, FieldType.STRING)

    def as_flat(self) -> Field:
        """The same field as its flat twin declares it."""
        return replace(self, field_type=self.flat_type or FieldType.STRING)


COMMON = (
    Field("confidence", FieldType.DOUBLE, "Calibrated probability that acting on it is right", low=0.0, high=1.0),
    Field("interval_low", FieldType.DOUBLE, "Lower end of the main quantity's interval"),
    Field("interval_high", FieldType.DOUBLE, "Upper end of the main quantity's interval"),
    Field("reason", FieldType.STRING, "Why, in plain words, the weightiest cause first"),
    Field("reasons", FieldType.REASONS, "Why, cause by cause: tag, share of the score, words"),
    Field("model_name", FieldType.STRING, "Model that said it"),
    Field("model_version", FieldType.STRING, "Version of that model"),
    Field("window_start", FieldType.DATE_TIME, "Begin of the data it rests on, the source's clock, UTC"),
    Field("window_end", FieldType.DATE_TIME, "End of the data it rests on, the source's clock, UTC"),
    Field("valid_until", FieldType.DATE_TIME, "Not to be acted on after this time, the source's clock, UTC"),
    Field("quality", FieldType.DOUBLE, "Share of the window's cells that held a Good sample", low=0.0, high=1.0),
    Field("operating_mode", FieldType.MODE, "advisory, confirm or closed_loop, as in force"),
    Field("state", FieldType.STATE, "proposed, accepted, rejected, written, acknowledged, expired or refused"),
    Field("state_reason", FieldType.STRING, "Why it stands so: the guard's refusal or the operator's comment"),
    Field("key", FieldType.STRING, "Identity: one effect on the plant per key"),
)
STANDING = (
    Field("status_text", FieldType.STRING, "Why the values are not Good; empty while they are"),
    Field("good", FieldType.BOOLEAN, "Whether the values are Good, for HMIs that show no StatusCode"),
)
"""How much the other Variables are worth."""
STATE = next(f for f in COMMON if f.name == "state")


def output_fields(outputs: Outputs) -> tuple[Field, ...]:
    """The declared outputs as hosted Variables, in declared order."""
    taken = {f.name for f in (*COMMON, *STANDING)}
    return tuple(_hosted(f, unique_field(f.name, taken)) for f in outputs.fields)


def _hosted(f: OutputField, name: str) -> Field:
    return Field(name, _OF_OUTPUT[f.data_type], f.description, f.unit, f.low, f.high, output=f.name)


def contents(rec: Recommendation, mode: str, state: State, window_s: float | None = None) -> dict[str, object]:
    """Values of the common Variables by field name; None where the recommendation has nothing to say.

    ``window_s`` is the length of its task's window, None for a task that looks at the latest values only.
    """
    low, high = rec.interval or (None, None)
    return {
        "confidence": rec.confidence,
        "interval_low": low,
        "interval_high": high,
        "reason": "; ".join(r.text for r in rec.reasons),
        "reasons": rec.reasons,
        "model_name": rec.model,
        "model_version": rec.model_version,
        "window_start": None if window_s is None else rec.window_end - timedelta(seconds=window_s),
        "window_end": rec.window_end,
        "valid_until": rec.valid_until,
        "quality": rec.quality,
        "operating_mode": mode,
        "state": state.value,
        "state_reason": "",
        "key": rec.key,
    }


def structured(field: Field, value: object) -> object:
    """``value`` as the field's own data type, or None where there is none.

    Raises:
        ValueError: The value does not fit the declared data type or range.
    """
    match field.field_type, value:
        case (
            (_, None)
            | (FieldType.STRING | FieldType.STATE | FieldType.MODE, str())
            | (FieldType.BOOLEAN, bool())
            | (FieldType.REASONS, tuple())
        ):
            return value
        case FieldType.JSON, tuple() | list():
            return json.dumps([dict(row) for row in value], separators=(",", ":"))
        case FieldType.DATE_TIME, datetime() | str():
            return _utc(value)
        case FieldType.INT32, int() if not isinstance(value, bool) and -(2**31) <= value < 2**31:
            return _within(field, value)
        case FieldType.DOUBLE, int() | float() if not isinstance(value, bool):
            return _within(field, float(value)) if math.isfinite(value) else None
    raise ValueError(f"{field.name} is {value!r}; expected {field.field_type.value}")


def flat(field: Field, value: object) -> object:
    """A value of ``structured`` as Boolean, Double or String."""
    if value is None:
        return None
    if isinstance(value, datetime):
        return value.isoformat()
    return float(value) if field.flat_type is FieldType.DOUBLE and isinstance(value, int) else value


def _within(field: Field, value: float) -> float:
    if (field.low is not None and value < field.low) or (field.high is not None and value > field.high):
        raise ValueError(f"{field.name} is {value}; bounds {field.low} to {field.high}")
    return value


def _utc(value: datetime | str) -> datetime | None:
    """Aware UTC time; a time without zone is UTC by the contract."""
    if value == "":
        return None
    at = datetime.fromisoformat(value) if isinstance(value, str) else value
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
