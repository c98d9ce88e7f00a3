"""The numbers that each head publishes: names, units and bounds, which the gateway makes nodes of."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lineside_plugins.contract import DataType, OutputField
from lineside_plugins.tasks.condition.config import ConditionConfig, Head

Floats: TypeAlias = NDArray[np.float64]
COVERAGE = 0.9  # of the interval about a value
LARGEST = 1e3  # times the limit; an anomaly score beyond says nothing more


def order_of(levels: Floats) -> NDArray[np.intp]:
    """Order in which quantiles are published: the one nearest the median first, the others rising."""
    first = int(np.argmin(np.abs(levels - 0.5)))
    return np.asarray([first, *(k for k in range(len(levels)) if k != first)], dtype=np.intp)


def fields_of(config: ConditionConfig) -> tuple[OutputField, ...]:
    """The numbers that ``config`` makes the task publish, in the order of ``Answer.quantities``."""
    double = DataType.DOUBLE
    if config.head is Head.CLASSIFICATION:
        return (
            OutputField("failure_probability", double, "Probability of the event within the horizon.", "", 0.0, 1.0),
        )
    if config.head is Head.CLASSES:
        fault = OutputField(
            "fault_probability", double, f"Probability that it is not {config.classes[0]}.", "", 0.0, 1.0
        )
        return (fault, *(OutputField(f"p_{c}", double, f"Probability of {c}.", "", 0.0, 1.0) for c in config.classes))
    if config.head is Head.ANOMALY:
        text = "Distance from healthy windows; 1 is the limit."
        return (OutputField("anomaly_score", double, text, "", 0.0, LARGEST),)
    if config.head is Head.QUANTILES:
        levels = np.asarray(config.quantiles)[order_of(np.asarray(config.quantiles))].tolist()
        return tuple(OutputField(f"value_q{_word(100 * q)}", double, f"{q:.0%} quantile.", config.unit) for q in levels)
    if config.head is Head.REGRESSION:
        return _with_bounds("value", "The quantity that was labelled", config.unit)
    tag = config.forecast_tag
    unit = config.tags[tag]
    return tuple(
        field for h in config.ahead_h for field in _with_bounds(f"ahead_{_word(h)}h", f"{tag} in {h:g} h", unit)
    )


def _with_bounds(name: str, text: str, unit: str) -> tuple[OutputField, ...]:
    double = DataType.DOUBLE
    return (
        OutputField(name, double, f"{text}.", unit),
        OutputField(f"{name}_low", double, f"{text}: lower bound, {COVERAGE:.0%} lie between the two.", unit),
        OutputField(f"{name}_high", double, f"{text}: upper bound.", unit),
    )


def _word(number: float) -> str:
    return f"{number:g}".replace(".", "_")
