"""Configuration of the condition task."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from lineside_plugins.contract import TaskConfig

TAGS = {"VibRms": "mm/s", "VibKurtosis": "", "SpindleTemp": "degC", "SpindlePower": "kW"}


class Head(StrEnum):
    """What is asked of a window; the outputs follow from it."""

    CLASSIFICATION = "classification"  # does a labelled event follow: a probability
    CLASSES = "classes"  # which of several conditions it is: a probability of each
    REGRESSION = "regression"  # a labelled quantity, such as hours left: a value with its interval
    QUANTILES = "quantiles"  # the same quantity as quantiles
    FORECASTING = "forecasting"  # where a tag will be some hours later; needs no labels
    ANOMALY = "anomaly"  # how unlike healthy windows it is, relative to a limit


class ConditionConfig(TaskConfig):
    """What a user may set; everything learned lives with the model, which must be of the same tags, window and head."""

    tags: dict[str, str] = Field(
        default_factory=lambda: dict(TAGS), min_length=1, description="Tag -> unit it must be in, '' for none."
    )
    length: int = Field(default=72, ge=8, le=4096, description="Cells of a window.")
    period_s: float = Field(default=600.0, gt=0, description="Length of a cell, s.")
    every_s: float | None = Field(
        default=None, gt=0, description="Event time between two looks at a machine, s; empty = one per cell."
    )
    deadline_s: float | None = Field(
        default=None, gt=0, description="How long a recommendation stays valid, s of event time; empty = two looks."
    )
    head: Head = Field(default=Head.CLASSIFICATION, description="What is asked of a window; as the model was trained.")
    threshold: float | None = Field(
        default=None, gt=0, lt=1, description="Probability that raises the flag; empty = the model's own."
    )
    classes: tuple[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")], ...] = Field(
        default=(), description="Classes: names in the order of the labelled numbers 0, 1, ...; the first is normal."
    )
    unit: str = Field(default="", description="Regression and quantiles: unit of the labelled quantity.")
    quantiles: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        default=(0.05, 0.5, 0.95), min_length=3, description="Quantiles: which, rising; the outermost are the interval."
    )
    forecast: str = Field(default="", description="Forecasting: which of the tags; empty = the first.")
    ahead_h: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(6.0, 24.0),
        min_length=1,
        description="Forecasting: how far ahead, h; the mean of the hour that ends then.",
    )
    alarm_above: float | None = Field(
        default=None, description="Regression, quantiles, forecasting: a value above raises the flag."
    )
    alarm_below: float | None = Field(
        default=None, description="Regression, quantiles, forecasting: a value below raises the flag."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.forecast and self.forecast not in self.tags:
            raise ValueError(
                f"forecast '{self.forecast}' is none of the tags {', '.join(self.tags)}; choose one of them"
            )
        if self.head is Head.CLASSES and len(set(self.classes)) < max(2, len(self.classes)):
            raise ValueError(f"classes {', '.join(self.classes) or 'are not given'}; name two or more, each once")
        for name in ("quantiles", "ahead_h"):
            given = getattr(self, name)
            if list(given) != sorted(set(given)):
                raise ValueError(f"{name} {', '.join(f'{g:g}' for g in given)} do not rise; sort them, each once")
        return self

    @property
    def look_s(self) -> float:
        """Event time between two looks at a machine."""
        return self.every_s or self.period_s

    def stored(self) -> dict[str, object]:
        """What a model was trained for, as JSON keeps it; tags as pairs, because it may sort the keys of a map."""
        own = self.model_dump(mode="json", exclude={"every_s", "deadline_s", "threshold"})
        return {**own, "tags": [list(pair) for pair in self.tags.items()]}

    @classmethod
    def from_stored(cls, stored: Mapping[str, Any]) -> Self:
        """Inverse of ``stored``."""
        return cls(**{**stored, "tags": {str(tag): str(unit) for tag, unit in stored["tags"]}})

    @property
    def forecast_tag(self) -> str:
        """The tag that is forecast."""
        return self.forecast or next(iter(self.tags))
