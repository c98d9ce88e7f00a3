"""The training side of each head of the condition task."""

from lineside_plugins.tasks.condition.config import Head
from lineside_workers.condition.heads.anomaly import Anomaly
from lineside_workers.condition.heads.base import Costs, Problem
from lineside_workers.condition.heads.classes import SeveralClasses
from lineside_workers.condition.heads.classification import Classification
from lineside_workers.condition.heads.quantiles import QuantileRegression
from lineside_workers.condition.heads.values import Forecasting, Regression

PROBLEMS: dict[Head, type[Problem]] = {
    Head.CLASSIFICATION: Classification,
    Head.CLASSES: SeveralClasses,
    Head.REGRESSION: Regression,
    Head.QUANTILES: QuantileRegression,
    Head.FORECASTING: Forecasting,
    Head.ANOMALY: Anomaly,
}

__all__ = ["PROBLEMS", "Costs", "Problem"]
