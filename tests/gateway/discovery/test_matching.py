"""Which Variable is the tag: by words, unit and type; what is not sure is asked."""

from __future__ import annotations

import pytest

from lineside_gateway.discovery.matching import match
from lineside_gateway.discovery.places import tree_of
from lineside_gateway.discovery.wants import Want
from lineside_gateway.discovery.words import leaf_words, words_of
from tests.gateway.discovery.trees import browsed

VIB = Want("VibRms", "mm/s", numeric=True)
TEMP = Want("SpindleTemp", "degC", numeric=True)
STATE = Want("State", numeric=True)
SERIAL = Want("SerialNo")


def matched(want, tree):
    (root,) = tree_of(browsed({"M1": tree}))
    return match([want], root.children[0])


@pytest.mark.parametrize("name", ["VibRms", "vib_rms", "VIBRATION-RMS", "Vibration RMS", "rVibRms", "VibRMSActual"])
def test_one_name_in_many_spellings(name):
    """Case, separators, abbreviations, a type prefix and words for a measured value make no difference."""
    assert leaf_words(name, "")[:2] == words_of("VibRms") == ("vibration", "rms")
    assert matched(VIB, {name: "mm/s"}).found["VibRms"].path == (name,)


@pytest.mark.parametrize(
    ("want", "tree", "path"),
    [
        (VIB, {"Vibration": {"RMS": "mm/s", "Peak": "mm/s"}}, "Vibration/RMS"),
        (VIB, {"VibRms_mm_s": "", "VibPeak": ""}, "VibRms_mm_s"),
        (TEMP, {"Drives": {"Spindle": {"Temperature": "°C", "Power": "kW"}}}, "Drives/Spindle/Temperature"),
        (TEMP, {"Spindle": {"SpindleTemperature_degC": "Cel"}, "Coolant": {"Temperature": "°C"}},
         "Spindle/SpindleTemperature_degC"),
        (TEMP, {"SpindleTemp": "degF", "Spindle": {"Temp": "degC"}}, "Spindle/Temp"),
        (STATE, {"Monitoring": {"Status": ("Int32", "")}, "Coolant": {"State": ("Int32", "")}}, "Monitoring/Status"),
        (STATE, {"State": ("Int32", ""), "Status": ("Int32", "")}, "State"),
        (STATE, {"State": ("String", ""), "Machine": {"State": ("Int32", "")}}, "Machine/State"),
        (SERIAL, {"Part": {"SerialNumber": ("String", "")}, "Identification": {"SerialNumber": ("Property", "")}},
         "Part/SerialNumber"),
        (TEMP, {"Spindle 1": {"Temp": "degC"}, "Axis 1": {"Temp": "degC"}}, "Spindle 1/Temp"),
        (Want("PartCount"), {"M1_PartCounter": ("UInt32", "")}, "{id}_PartCounter"),
    ],
)  # fmt: skip
def test_what_is_beyond_doubt_is_matched(want, tree, path):
    """Trailing names that say the tag, with a unit and a type that fit, not of another part."""
    assert "/".join(matched(want, tree).found[want.tag].path) == path


@pytest.mark.parametrize(
    ("want", "tree", "candidates"),
    [
        (VIB, {"Front": {"VibRms": "mm/s"}, "Rear": {"VibRms": "mm/s"}}, ["Front/VibRms", "Rear/VibRms"]),
        (VIB, {"Vib_Rms_1": "mm/s", "Vib_Rms_2": "mm/s"}, ["Vib_Rms_1", "Vib_Rms_2"]),
        (Want("ToolCount"), {"Tool": {"Mode": ("Int32", "")}, "Parts": {"Count": ("Int32", "")}}, ["Parts/Count"]),
        (TEMP, {"Spindle 1": {"Power": "kW"}}, []),
        (VIB, {"Vibration": "mm/s", "Speed": "rpm"}, ["Vibration"]),
        (VIB, {"Schwingung": "mm/s", "Weg": "mm"}, ["Schwingung"]),
        (TEMP, {"Spindle": {"Motor": {"Temperature": "°C"}}}, ["Spindle/Motor/Temperature"]),
        (STATE, {"Coolant": {"Status": ("Int32", "")}}, ["Coolant/Status"]),
        (Want("ToolCount"), {"TolCount": ("UInt32", "")}, ["TolCount"]),
        (SERIAL, {"Image": ("ByteString", "")}, []),
        (STATE, {"Limits": ("Range", "")}, []),
    ],
)  # fmt: skip
def test_what_is_not_sure_is_left_to_the_user(want, tree, candidates):
    """Two that fit alike, half a name, only the unit, another part's state: candidates, never a match."""
    result = matched(want, tree)
    assert not result.found
    assert ["/".join(c.path) for c in result.unsure[want.tag]] == candidates


@pytest.mark.parametrize(
    ("want", "node", "said"),
    [
        (TEMP, "degF", "is in degF, not degC; convert it in the PLC"),
        (VIB, "in/s", "is in in/s, not mm/s"),
        (STATE, ("String", ""), "is String, no number"),
        (STATE, ("Range", ""), "is a structure (Range)"),
    ],
)
def test_a_node_of_the_right_name_that_cannot_be_the_tag_says_why(want, node, said):
    """Another unit or type is no match: nothing converts a live value."""
    result = matched(want, {want.tag: node})
    assert not result.found
    assert said in result.unsure[want.tag][0].misfit


def test_a_variable_that_is_one_tag_is_not_offered_for_another():
    """PartCount, taken by its own name, is no candidate for ToolCount."""
    (root,) = tree_of(browsed({"M1": {"PartCount": ("UInt32", "")}}))
    result = match([Want("ToolCount"), Want("PartCount")], root.children[0])
    assert set(result.found) == {"PartCount"}
    assert result.unsure["ToolCount"] == ()
