"""The contract as the runtime enforces it: what a task said about one window, against what it declared.

The sentences returned here reach the operator, so they name the field, the value and the bound.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, cast

import numpy as np

from lineside_plugins.contract import DataType, Inputs, OutputField, Outputs
from lineside_plugins.types import Advice, ContractError, FloatArray, OutputValue, Reason, WindowBatch

INT32 = 2**31
ACCEPTED: Mapping[DataType, tuple[type, ...]] = {
    DataType.BOOLEAN: (bool,),
    DataType.INT32: (int,),
    DataType.DOUBLE: (int, float),
    DataType.STRING: (str,),
    DataType.DATE_TIME: (str,),
    DataType.RECORDS: (tuple, list),
}


_PLAIN: Mapping[DataType, type] = {DataType.BOOLEAN: bool, DataType.DOUBLE: float, DataType.STRING: str}


class RefusedError(ContractError):
    """One advice breaks the contract; it is withheld, the rest of the batch stands."""


def check_batch(batch: WindowBatch, inputs: Inputs) -> None:
    """Check that the batch was built for these inputs.

    Raises:
        ContractError: Channels, length or period differ: gateway and worker run different versions of the task.
    """
    spec = inputs.window
    tags = () if spec is None else tuple(c.tag for c in spec.channels)
    length = 0 if spec is None else spec.length
    if batch.tags != tags or batch.values.shape[1] != length:
        raise ContractError(
            f"batch has {batch.values.shape[1]} samples of ({', '.join(batch.tags)}); the task takes {length} of "
            f"({', '.join(tags)}); install the same version for gateway and worker"
        )
    if spec is not None and not math.isclose(batch.period_s, spec.period_s):
        raise ContractError(
            f"batch has a period of {batch.period_s} s; the task takes {spec.period_s} s; "
            "install the same version for gateway and worker"
        )


def quality(batch: WindowBatch, inputs: Inputs) -> FloatArray:
    """Share of required cells that held a Good sample, 0..1, per window (B,); 1 for a task without a window."""
    if batch.is_all_good:  # most batches; the sum below takes ten times as long
        return np.ones(len(batch), dtype=np.float32)
    required = [] if inputs.window is None else [i for i, c in enumerate(inputs.window.channels) if not c.optional]
    if not required or batch.good.shape[1] == 0:
        return np.ones(len(batch), dtype=np.float32)
    share: FloatArray = batch.good[:, :, required].mean(axis=(1, 2), dtype=np.float32)
    return share


class AdviceCheck:
    """The rules of ``outputs``, made once and applied to every advice.

    Plain Python values within their bounds, what nearly every advice holds, are let through by a short test; all
    others go through the rules one by one.
    """

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs
        self._rules = tuple(
            (f.name, _PLAIN.get(f.data_type), *_bounds(f, -sys.float_info.max, sys.float_info.max))
            for f in outputs.fields
        )

    def __call__(self, advice: object) -> Advice:
        """The advice with plain Python values, if it keeps the contract.

        Raises:
            RefusedError: The first rule it breaks.
        """
        if not isinstance(advice, Advice):
            raise RefusedError(f"the task returned {type(advice).__name__}; expected Advice or None")
        if not isinstance(advice.value, Mapping):
            declared = ", ".join(self._outputs.names)
            raise RefusedError(f"the value is a {type(advice.value).__name__}; expected a dict of {declared}")
        if self._is_plain(advice):
            return advice
        given, names = advice.value, self._outputs.names
        if given.keys() != set(names):
            missing = [n for n in names if n not in given]
            extra = [n for n in given if n not in names]
            word, name = ("lacks", missing[0]) if missing else ("has undeclared", extra[0])
            raise RefusedError(f"the value {word} '{name}'; declared: {', '.join(names)}")
        value = {f.name: _checked(f, given[f.name]) for f in self._outputs.fields}
        if not isinstance(value[self._outputs.flag], bool):
            raise RefusedError(f"flag '{self._outputs.flag}' is {value[self._outputs.flag]!r}; expected true or false")
        return replace(advice, value=value, **_beside(advice))

    def all_plain(self, said: Collection[object]) -> bool:
        """Whether all of ``said`` are advice that would be let through as it is; False may be wrong."""
        if {a.__class__ for a in said} != {Advice}:
            return False
        advice = cast("Collection[Advice]", said)
        for a in advice:
            if a.reasons or a.interval is not None or a.valid_for_s is not None:
                return False
        values = [a.value for a in advice]
        if {v.__class__ for v in values} != {dict} or {len(v) for v in values} != {len(self._rules)}:
            return False
        return _all_within([a.confidence for a in advice], 0.0, 1.0) and all(
            _keeps([v.get(name) for v in values], kind, low, high) for name, kind, low, high in self._rules
        )

    def _is_plain(self, advice: Advice) -> bool:
        """Whether everything it says is of the very type and within the bounds declared; False may be wrong."""
        value, confidence = advice.value, advice.confidence
        if type(confidence) is not float or not 0.0 <= confidence <= 1.0 or len(value) != len(self._rules):
            return False
        if advice.interval is not None or advice.reasons or advice.valid_for_s is not None:
            return False
        if value.get(self._outputs.flag).__class__ is not bool:
            return False
        for name, kind, low, high in self._rules:
            item = value.get(name)
            if type(item) is not kind:
                return False
            if kind is float and not low <= item <= high:  # type: ignore[operator]  # a float: see above
                return False
        return True


def _keeps(column: list[Any], kind: type | None, low: float, high: float) -> bool:
    """Whether all are plain values of ``kind`` within the bounds."""
    return _all_within(column, low, high) if kind is float else {item.__class__ for item in column} == {kind}


def _all_within(column: list[Any], low: float, high: float) -> bool:
    """Whether all are floats within the bounds; the sum tells of a NaN, which a minimum may miss."""
    if {item.__class__ for item in column} != {float}:
        return False
    return low <= min(column) and max(column) <= high and not math.isnan(sum(column))


def check_advice(advice: object, outputs: Outputs) -> Advice:
    """``AdviceCheck`` for one advice."""
    return AdviceCheck(outputs)(advice)


def _beside(advice: Advice) -> dict[str, Any]:
    """Confidence, interval and reasons, checked."""
    interval = advice.interval
    if interval is not None:
        low, high = (_number("interval", x) for x in interval)
        if low > high:
            raise RefusedError(f"interval {low:g}..{high:g} runs backwards")
        interval = (low, high)
    if advice.valid_for_s is not None and _number("valid_for_s", advice.valid_for_s) <= 0:
        raise RefusedError(f"valid_for_s is {advice.valid_for_s:g}; expected more than 0")
    confidence = _within("confidence", _number("confidence", advice.confidence), 0.0, 1.0)
    reasons = tuple(Reason(str(r.tag), _number("a reason's weight", r.weight), str(r.text)) for r in advice.reasons)
    return {"confidence": confidence, "interval": interval, "reasons": reasons}


def _checked(spec: OutputField, value: object) -> OutputValue:
    plain = value.item() if isinstance(value, np.generic) else value
    if plain is None:  # hosted as a null Variant: the task knows the field and has no value for it
        return None
    kind = spec.data_type
    if not isinstance(plain, ACCEPTED[kind]) or (isinstance(plain, bool) and kind is not DataType.BOOLEAN):
        raise RefusedError(f"'{spec.name}' is {type(plain).__name__} {str(plain)[:40]!r}; declared {kind.value}")
    if isinstance(plain, tuple | list):
        return tuple(_record(spec.name, row) for row in plain)
    if kind is DataType.DATE_TIME:
        _check_time(spec.name, str(plain))
    if kind is DataType.INT32:
        _within(spec.name, _number(spec.name, plain), *_bounds(spec, -INT32, INT32 - 1))
    if kind is DataType.DOUBLE:
        return _within(spec.name, _number(spec.name, plain), *_bounds(spec, -math.inf, math.inf))
    return cast("OutputValue", plain)


def _bounds(spec: OutputField, low: float, high: float) -> tuple[float, float]:
    return (low if spec.low is None else spec.low, high if spec.high is None else spec.high)


def _number(name: str, value: object) -> float:
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
        raise RefusedError(f"{name} is {type(value).__name__} {str(value)[:40]!r}; expected a number")
    number = float(value)
    if not math.isfinite(number):
        raise RefusedError(f"{name} is {number}; expected a finite number")
    return number


def _within(name: str, value: float, low: float, high: float) -> float:
    if not low <= value <= high:
        raise RefusedError(f"{name} is {value:g}; bounds are {low:g}..{high:g}")
    return value


def _check_time(name: str, value: str) -> None:
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        raise RefusedError(f"'{name}' is {value[:40]!r}; expected an ISO 8601 time") from None
    if parsed.tzinfo is None:
        raise RefusedError(f"'{name}' is {value[:40]!r}, without a time zone; append +00:00")


def _record(name: str, row: object) -> Mapping[str, bool | int | float | str | None]:
    if not isinstance(row, Mapping):
        raise RefusedError(f"a row of '{name}' is {type(row).__name__}; expected a mapping")
    plain = {str(k): v.item() if isinstance(v, np.generic) else v for k, v in row.items()}
    for key, cell in plain.items():
        if not (cell is None or isinstance(cell, bool | int | float | str)):
            raise RefusedError(f"'{name}.{key}' is {type(cell).__name__}; expected text, a number, a Boolean or null")
        if isinstance(cell, float) and not math.isfinite(cell):
            raise RefusedError(f"'{name}.{key}' is {cell}; expected a finite number")
    return plain
