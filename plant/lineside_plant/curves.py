"""The press force curve of each part: 256 points over the stroke, with the porosity signature in it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lineside_plant.machines import Machine
from lineside_plant.mills import Part
from lineside_plant.spec import PlantSpec
from lineside_plant.streams import Streams

CURVE_POINTS = 256
_U = np.linspace(0.0, 1.0, CURVE_POINTS)
_LOAD_EXPONENT = 0.5  # of force on family load


class PressCurve:
    """Draws force curves; one draw of noise per part pressed.

    A filter matched to this plant's signature recovers the part's score with a sigma of ``signature_sigma``: the dip's
    height per unit of score is set from the noise and the dip's own norm.
    """

    def __init__(self, spec: PlantSpec, streams: Streams) -> None:
        self._spec = spec
        self._noise = streams.generator("press curve")
        self._jitter = streams.normal("press stroke")
        dip = np.exp(-0.5 * ((_U - spec.signature_at) / spec.signature_width) ** 2)
        self._dip = dip * spec.curve_noise_kn / (spec.signature_sigma * float(np.linalg.norm(dip)))

    def draw(self, press: Machine, part: Part) -> NDArray[np.float32]:
        """Force (kN), float32 (256,), of ``part`` pressed now by ``press``."""
        spec = self._spec
        u = _U + spec.curve_jitter * self._jitter()
        rise = 1.0 / (1.0 + np.exp((spec.curve_rise - u) / spec.curve_rise_width))
        fall = 1.0 / (1.0 + np.exp((u - spec.curve_fall) / spec.curve_fall_width))
        peak = spec.curve_peak_kn * part.hardness**spec.curve_hardness_exponent * press.load**_LOAD_EXPONENT
        curve = rise * fall * (peak * (1.0 + spec.curve_slope * u) - part.score * self._dip)
        wobble = spec.curve_ripple_kn * press.life.x**2
        curve += wobble * np.sin((2 * math.pi * spec.curve_ripple_cycles) * u)
        curve += spec.curve_noise_kn * self._noise.standard_normal(CURVE_POINTS, np.float32)
        return np.asarray(curve, np.float32)
