"""Steel plant energy: kWh per quarter of an hour over 2018; split by time, the last 20 % is the test.

Only what is known when the forecast is made is used: past readings, and the calendar of the hour forecast.
Source: Sathishkumar V E et al., Steel Industry Energy Consumption, UCI (2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lineside_workers.learning.datasets import folder

PERIOD_MIN = 15
TAGS = ("Usage", "LaggingReactive", "LeadingReactive", "CO2", "LaggingPowerFactor", "LeadingPowerFactor")
_COLUMNS = (
    "Usage_kWh",
    "Lagging_Current_Reactive.Power_kVarh",
    "Leading_Current_Reactive_Power_kVarh",
    "CO2(tCO2)",
    "Lagging_Current_Power_Factor",
    "Leading_Current_Power_Factor",
)


@dataclass(frozen=True, slots=True)
class Readings:
    """``end`` datetime64[m] (T,), the end of each quarter of an hour; ``values`` float64 (T, 6) as in ``TAGS``."""

    end: NDArray[np.datetime64]
    values: NDArray[np.float64]


def read(root: Path) -> Readings:
    """The year in time order; the file stamps a day's last quarter 00:00 of the same day, mended here.

    Raises:
        DatasetError: The file is missing or damaged.
    """
    rows = list(folder.table(folder.required(root, "steel_energy/Steel_industry_data.csv.gz")))
    values = np.asarray([[float(row[c]) for c in _COLUMNS] for row in rows])
    day, month, year = rows[0]["date"].split(" ")[0].split("/")
    first = np.datetime64(f"{year}-{month}-{day}T00:15", "m")
    end = first + np.arange(len(rows)) * np.timedelta64(PERIOD_MIN, "m")
    return Readings(end, values)
