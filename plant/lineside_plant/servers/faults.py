"""What goes wrong on purpose, so that a gateway can be tested against it: ``--inject KIND:MACHINE[:TAG[:FROM:TO]]``.

FROM and TO are seconds of plant time since serving began; without them a fault lasts for good. TAG may hold ``*`` and
``?``. ``,name=value`` at the end sets an option of the kind. Faults act on what the server shows, never on the plant.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import ClassVar, Protocol

import numpy as np
from asyncua.ua.status_codes import StatusCodes

from lineside_plant.events import TagValue
from lineside_plant.servers.errors import FaultSpecError
from lineside_plant.servers.samples import Sample
from lineside_plant.spec import MACHINES


@dataclass(frozen=True, slots=True)
class FaultSpec:
    """Which fault, where, when (seconds of plant time since serving began), with which options."""

    kind: str
    machine: str
    tag: str = "*"
    from_s: float = 0.0
    to_s: float = math.inf
    options: Mapping[str, float] = field(default_factory=dict)


class SampleFault(ABC):
    """Acts on the samples of the tags its spec selects. One instance per ``--inject``; keeps its own random stream."""

    defaults: ClassVar[Mapping[str, float]] = {}

    def __init__(self, spec: FaultSpec, seed: int) -> None:
        self.spec = spec
        self.options = {**self.defaults, **spec.options}
        self.rng = np.random.default_rng([seed, MACHINES.index(spec.machine), len(spec.kind)])

    def selects(self, tag: str) -> bool:
        """Whether the fault is about ``tag``."""
        return fnmatchcase(tag, self.spec.tag)

    def active(self, age_s: float) -> bool:
        """Whether the fault acts ``age_s`` seconds after serving began."""
        return self.spec.from_s <= age_s < self.spec.to_s

    @abstractmethod
    def apply(self, sample: Sample, age_s: float) -> Sample | None:
        """The sample as the server shows it; None when it is held back or lost."""

    def due(self, _now_us: int) -> Iterator[Sample]:
        """Samples held back earlier that the server shows now."""
        return iter(())


class BadStatus(SampleFault):
    """The sensor has failed: BadSensorFailure, no value."""

    def apply(self, sample: Sample, age_s: float) -> Sample | None:
        """Replace the status while active."""
        return sample._replace(status=StatusCodes.BadSensorFailure) if self.active(age_s) else sample


class UncertainStatus(SampleFault):
    """The sensor is out of calibration: UncertainSensorNotAccurate, the value stands."""

    def apply(self, sample: Sample, age_s: float) -> Sample | None:
        """Replace the status while active."""
        return sample._replace(status=StatusCodes.UncertainSensorNotAccurate) if self.active(age_s) else sample


class Frozen(SampleFault):
    """The value stands still with a Good status while its timestamp goes on."""

    def __init__(self, spec: FaultSpec, seed: int) -> None:
        super().__init__(spec, seed)
        self._frozen: dict[str, TagValue] = {}

    def apply(self, sample: Sample, age_s: float) -> Sample | None:
        """Show the last value from before the fault, or the first one in it."""
        if not self.active(age_s):
            self._frozen[sample.tag] = sample.value
            return sample
        return sample._replace(value=self._frozen.setdefault(sample.tag, sample.value))


class Late(SampleFault):
    """A ``share`` of the samples comes ``delay_s`` late with its own timestamp, and so after younger ones."""

    defaults: ClassVar[Mapping[str, float]] = {"delay_s": 30.0, "share": 0.5}

    def __init__(self, spec: FaultSpec, seed: int) -> None:
        super().__init__(spec, seed)
        self._held: list[Sample] = []

    def apply(self, sample: Sample, age_s: float) -> Sample | None:
        """Hold the sample back, or let it pass."""
        if not self.active(age_s) or self.rng.random() >= self.options["share"]:
            return sample
        self._held.append(sample)
        return None

    def due(self, now_us: int) -> Iterator[Sample]:
        """Samples that are ``delay_s`` old."""
        until_us = now_us - round(self.options["delay_s"] * 1e6)
        while self._held and self._held[0].time <= until_us:
            yield self._held.pop(0)


class Lost(SampleFault):
    """A ``share`` of the samples never reaches the server."""

    defaults: ClassVar[Mapping[str, float]] = {"share": 0.3}

    def apply(self, sample: Sample, age_s: float) -> Sample | None:
        """Drop the sample, or let it pass."""
        return None if self.active(age_s) and self.rng.random() < self.options["share"] else sample


class ClockSkew(SampleFault):
    """The PLC's clock is ``skew_s`` ahead: timestamps and PlantTime."""

    defaults: ClassVar[Mapping[str, float]] = {"skew_s": 120.0}

    def apply(self, sample: Sample, age_s: float) -> Sample | None:
        """Move the sample in time."""
        if not self.active(age_s):
            return sample
        skew_s = self.options["skew_s"]
        value = float(sample.value) + skew_s if sample.tag == "PlantTime" else sample.value  # type: ignore[arg-type]
        return sample._replace(time=sample.time + round(skew_s * 1e6), value=value)


class FaultyServer(Protocol):
    """What a server fault may do to a PLC."""

    hidden: set[str]
    serving: bool
    tag_names: tuple[str, ...]

    async def start(self, *, reordered: bool = False) -> None:
        """Listen."""

    async def stop(self) -> None:
        """Stop listening."""

    async def reveal(self, tag: str) -> None:
        """Add a hidden node."""


class ServerFault(ABC):
    """Acts on a whole server. ``times`` are the ages at which it must be stepped."""

    def __init__(self, spec: FaultSpec) -> None:
        self.spec = spec
        self.times: tuple[float, ...] = (spec.from_s, spec.to_s)

    def prepare(self, plc: FaultyServer) -> None:  # noqa: B027 - few of them have something to prepare
        """Act before the server is built."""

    @abstractmethod
    async def step(self, plc: FaultyServer, age_s: float) -> None:
        """Act ``age_s`` seconds after serving began."""


class Restart(ServerFault):
    """The server is down from FROM to TO (10 s if not given) and comes back with its namespaces in another order."""

    def __init__(self, spec: FaultSpec) -> None:
        super().__init__(spec)
        self._up_s = spec.to_s if math.isfinite(spec.to_s) else spec.from_s + 10.0
        self.times = (spec.from_s, self._up_s)
        self._done = False

    async def step(self, plc: FaultyServer, age_s: float) -> None:
        """Stop the server, or start it again."""
        if self._done or age_s < self.spec.from_s:
            return
        if plc.serving:
            await plc.stop()
        if age_s >= self._up_s:
            self._done = True
            await plc.start(reordered=True)


class LateNodes(ServerFault):
    """The nodes of the tags are missing until TO (30 s if not given), as while a PLC still boots."""

    def __init__(self, spec: FaultSpec) -> None:
        super().__init__(spec)
        self._until_s = spec.to_s if math.isfinite(spec.to_s) else 30.0
        self.times = (self._until_s,)

    def prepare(self, plc: FaultyServer) -> None:
        """Hide the nodes."""
        self._tags = [tag for tag in plc.tag_names if fnmatchcase(tag, self.spec.tag)]
        plc.hidden.update(self._tags)

    async def step(self, plc: FaultyServer, age_s: float) -> None:
        """Show the nodes when it is time."""
        if age_s >= self._until_s:
            for tag in self._tags:
                await plc.reveal(tag)
            self._tags = []


SAMPLE_FAULTS: dict[str, type[SampleFault]] = {
    "bad": BadStatus,
    "uncertain": UncertainStatus,
    "frozen": Frozen,
    "late": Late,
    "lost": Lost,
    "clock_skew": ClockSkew,
}
SERVER_FAULTS: dict[str, type[ServerFault]] = {"restart": Restart, "late_nodes": LateNodes}
KINDS = (*SAMPLE_FAULTS, *SERVER_FAULTS)


def parse_fault(text: str) -> FaultSpec:
    """The fault that an ``--inject`` argument describes, such as ``late:A1:Vib*:600:1200,delay_s=45``.

    Raises:
        FaultSpecError: The argument does not describe a fault; the message says what would.
    """
    place, *settings = text.split(",")
    kind, machine, tag, from_s, to_s = (place.split(":") + [""] * 5)[:5]
    if kind not in KINDS:
        raise FaultSpecError(f"fault kind '{kind}' in '{text}' is unknown; kinds: {', '.join(KINDS)}")
    if machine not in MACHINES:
        raise FaultSpecError(f"machine '{machine}' in '{text}' is unknown; machines: {', '.join(MACHINES)}")
    allowed = SAMPLE_FAULTS[kind].defaults if kind in SAMPLE_FAULTS else {}
    try:
        options = {name: float(value) for name, value in (setting.split("=") for setting in settings)}
        begin, end = float(from_s or 0.0), float(to_s or "inf")
    except ValueError:
        raise FaultSpecError(
            f"'{text}' holds no number where one is due; expected {kind}:{machine}:TAG:60:120"
        ) from None
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        raise FaultSpecError(
            f"option '{unknown[0]}' in '{text}' is unknown; options of {kind}: {', '.join(allowed) or 'none'}"
        )
    if place.count(":") > 4 or not 0 <= begin < end:
        raise FaultSpecError(f"'{text}' has no proper span; expected {kind}:{machine}:TAG:FROM:TO with 0 <= FROM < TO")
    return FaultSpec(kind, machine, tag or "*", begin, end, options)


class SampleFaults:
    """All sample faults of one machine, in the order they were given."""

    def __init__(self, specs: Iterable[FaultSpec], seed: int) -> None:
        self._faults = [SAMPLE_FAULTS[spec.kind](spec, seed) for spec in specs if spec.kind in SAMPLE_FAULTS]

    def apply(self, samples: Iterable[Sample], start_us: int, now_us: int) -> Iterator[Sample]:
        """``samples`` as the server shows them; ``start_us`` is when serving began."""
        for sample in samples:
            shown: Sample | None = sample
            for fault in self._faults:
                if shown is not None and fault.selects(shown.tag):
                    shown = fault.apply(shown, (sample.time - start_us) / 1e6)
            if shown is not None:
                yield shown
        for fault in self._faults:
            yield from fault.due(now_us)
