"""From a browsed tree to settings: machines, patterns, tasks, sentences, and a file that loads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineside_gateway.discovery.draft import Source, draft
from lineside_gateway.discovery.errors import DiscoveryError
from lineside_gateway.discovery.patterns import names_pattern, pattern_of
from lineside_gateway.discovery.proposal import propose
from lineside_gateway.discovery.wants import wants_of
from lineside_gateway.opcua.addresses import matches, parse_address
from lineside_gateway.settings import ServerSettings, read_settings
from lineside_plugins.contract import Channel, Inputs, RecordSpec, Trigger, WindowSpec
from tests.gateway.discovery.trees import Structure, Typed, browsed

CHANNELS = (Channel("VibRms", "mm/s"), Channel("SpindleTemp", "degC"), Channel("ToolCount", optional=True))
INPUTS = Inputs(Trigger(every_s=60), 60, WindowSpec(CHANNELS, 8, 60), requires=("VibRms", "SpindleTemp"))
ORDERS = Inputs(Trigger(on_change=("State",)), 60, records=(RecordSpec("job_orders"),))
TASKS = {"watch": wants_of("watch", INPUTS), "plan": wants_of("plan", ORDERS)}
WATCH = {"watch": TASKS["watch"]}
MILL = {"Vibration": {"RMS": "mm/s"}, "Spindle": {"Temperature": "°C"}, "Speed": "rpm"}
STANDARD = {"Locations": {}, "Plant": {"Site": ("String", "")}}


def proposed(tree, tasks=WATCH, start="Objects", *, asked=False):
    return proposed_at({"PLC": tree}, tasks, start, asked=asked)


def proposed_at(trees, tasks=WATCH, start="Objects", *, asked=False):
    proposal = propose({server: browsed(tree) for server, tree in trees.items()}, start, tasks, asked=asked)
    servers = tuple(ServerSettings(name=s, url=f"opc.tcp://127.0.0.1:{4840 + i}") for i, s in enumerate(trees))
    text = draft(proposal, Source(servers, start, 10, "lineside.yaml"))
    return proposal, read_settings(text, environment={}), text


def browses(settings):
    return [e.browse for e in settings.equipment]


def test_machines_alike_become_one_pattern():
    """Machines with mostly the same names below them, whatever folder type they have, are one entry with a glob."""
    proposal, settings, text = proposed({"Line1": {"Mill1": MILL, "Mill2": MILL | {"Speed": "rpm", "More": ""}}})
    assert browses(settings) == ["Objects/Line1/*"]
    assert settings.tags == {"VibRms": "Vibration/RMS", "SpindleTemp": "Spindle/Temperature"}
    assert [(t.task, t.mode, t.equipment_patterns) for t in settings.tasks] == [("watch", "advisory", ("*",))]
    assert proposal.lacks == ()
    assert "# mm/s" in text


@pytest.mark.parametrize(
    ("tree", "browse"),
    [
        ({**STANDARD, "Mill1": MILL, "Mill2": MILL}, ["Objects/Mill*"]),
        ({**STANDARD, "A1": MILL, "B1": MILL}, ["Objects/A1", "Objects/B1"]),
        ({**STANDARD, "M1": MILL, "M2": MILL, "MES": {"Day": "d"}}, ["Objects/M?"]),
        ({**STANDARD, "Old_Mill": MILL, "New_Mill": MILL}, ["Objects/*_Mill"]),
        ({**STANDARD, "A1": MILL, "B7": MILL, "C3": {"Level": "m"}}, ["Objects/A1", "Objects/B7"]),
        ({"Line1": {"M1": MILL}, "Line2": {"M2": MILL}}, ["Objects/*/*"]),
        ({"Line1": {"Hall": "degF", "M1": MILL, "M2": MILL}}, ["Objects/Line1/M*"]),
        ({"Line/1": {"M": MILL}}, ["Objects/Line&/1/M"]),
        ({"Mill1": MILL}, ["Objects/Mill1"]),
    ],
)
def test_the_pattern_matches_the_machines_and_nothing_else(tree, browse):
    """A glob stands only where it leads to no other node, Variables among them; else each machine has an entry."""
    assert browses(proposed(tree)[1]) == browse


def test_a_type_of_its_own_makes_machines_alike():
    """Two Objects of one ObjectType are alike with hardly a name in common; the one that lacks a tag is named."""
    poor = Typed("MillType", Vibration={"RMS": "mm/s"}, A="", B="", C="")
    proposal, settings, text = proposed({"Hall": {"M1": poor, "M2": Typed("MillType", **MILL, B="", C="", D="")}})
    assert browses(settings) == ["Objects/Hall/*"]
    assert settings.tasks[0].equipment_patterns == ("M2",)
    assert "of type MillType" in text
    assert "not on M1" in text
    assert proposal.lacks == ()


def test_names_that_carry_the_machine():
    """Mill1_Temp on Mill1 and Mill2_Temp on Mill2 are one path with {id}."""
    tree = {f"Mill{i}": {f"Mill{i}_VibRms": "mm/s", f"Mill{i}_SpindleTemp": "degC"} for i in (1, 2)}
    assert proposed(tree)[1].tags == {"VibRms": "{id}_VibRms", "SpindleTemp": "{id}_SpindleTemp"}


def test_machines_may_be_structures_in_an_array():
    """A PLC that shows machines as elements of an array of structures: NodeIds, and ids that no glob misreads."""
    mill = Structure(MILL)
    _, settings, _ = proposed({"PLC_1": {"DB_Mills": {"Mill": Structure({"[1]": mill, "[2]": mill}), "Speed": "rpm"}}})
    assert [(e.id, e.browse) for e in settings.equipment] == [
        (f"Mill_{i}", f"nsu=urn:t;s=Objects/PLC_1/DB_Mills/Mill/[{i}]") for i in (1, 2)
    ]
    _, settings, _ = proposed({"PLC_1": {"DB_Mills": {"Mill1": mill, "Mill2": mill}}})
    assert browses(settings) == ["Objects/PLC_1/DB_Mills/*"]


def test_machines_that_are_only_the_beginning_of_names():
    """A flat list of tags: Variables that begin alike are a machine, whose id stands in the paths."""
    rest = ("Vib_Rms", "Spindle_Temp", "State")
    tags = {f"Line1.Mill{i}.{r}": "" for i in (1, 2) for r in rest} | {f"Line1.Tank.{r}": "" for r in ("Level", "Full")}
    _, settings, _ = proposed({"Tags": tags})
    assert [(e.id, e.browse) for e in settings.equipment] == [(f"Line1.Mill{i}", "Objects/Tags") for i in (1, 2)]
    assert settings.tags == {"VibRms": "{id}.Vib_Rms", "SpindleTemp": "{id}.Spindle_Temp"}


def test_two_machines_of_one_name_get_ids():
    """What a BrowseName does not tell apart, an id from the names above does, and paths with {id} are written out."""
    machine = {"M1_VibRms": "mm/s", "SpindleTemp": "degC"}
    _, settings, _ = proposed({"Line1": {"M1": machine}, "Line2": {"M1": machine}})
    assert [(e.id, e.browse) for e in settings.equipment] == [
        ("Line1-M1", "Objects/Line1/M1"), ("Line2-M1", "Objects/Line2/M1"),
    ]  # fmt: skip
    assert settings.equipment[1].tags == {"VibRms": "M1_VibRms"}


def test_other_machines_with_other_names_have_tags_of_their_own():
    """A second kind that runs the task has an entry with its own map; a part of a machine is no machine."""
    press = {"Vib": {"Rms": "mm/s"}, "Spindle": {"Temp": "degC"}}
    _, settings, _ = proposed({"Mills": {"M1": MILL, "M2": MILL}, "Presses": {"P1": press}})
    assert browses(settings) == ["Objects/Mills/*", "Objects/Presses/P1"]
    assert settings.equipment[0].tags["VibRms"] == "Vibration/RMS"
    assert settings.equipment[1].tags == {"VibRms": "Vib/Rms", "SpindleTemp": "Spindle/Temp"}


def test_a_name_of_its_own_needs_no_entry_unless_another_is_nearer():
    """The gateway takes the nearest node of a tag's name; where that is another one, the path is written."""
    _, settings, text = proposed({"M1": {"VibRms": "mm/s", "SpindleTemp": "degC"}})
    assert settings.tags == {}
    assert "by their own names: VibRms (mm/s), SpindleTemp (degC)" in text
    nearer = {"VibRms": "in/s", "Monitoring": {"VibRms": "mm/s"}, "SpindleTemp": "degC"}
    assert proposed({"M1": nearer})[1].tags == {"VibRms": "Monitoring/VibRms"}


def test_what_is_missing_is_one_sentence_per_tag():
    """A task that cannot run is written for the user to complete: candidates as comments, a sentence for each lack."""
    proposal, settings, text = proposed({"M1": {"VibRms": "mm/s", "Temp": "degC", "Motor": {"Temp": "degC"}}})
    assert settings.tags == {}
    (lack,) = proposal.lacks
    assert lack.startswith("task watch needs SpindleTemp, which is not found on M1; there is Temp, Motor/Temp")
    assert "# SpindleTemp: Motor/Temp" in text


def test_a_task_of_job_orders_asks_for_their_receiver():
    """Left out unless asked for; then a receiver on the server is taken, and without one a sentence says so."""
    tree = {"M1": MILL | {"State": ("Int32", "")}}
    assert "plan reads job orders of the MES" in proposed(tree, TASKS)[0].notes[0]
    plan = {"plan": TASKS["plan"]}
    assert "no ISA-95 job order receiver" in proposed(tree, plan, asked=True)[0].lacks[0]
    receiver = {"JobOrderList": ("Structure", ""), "Update": ("Method", "")}
    proposal, settings, _ = proposed(tree | {"Orders": receiver}, plan, asked=True)
    assert proposal.lacks == ()
    assert settings.job_control.browse == "Objects/Orders"


def test_a_line_with_a_plc_per_machine():
    """Several servers give one file: one map where names agree, a server for each machine, none without a machine."""
    lone = {"M": MILL}
    trees = {"PLC1": lone, "PLC2": lone, "PLC3": {"Hall": {"N1": MILL, "N2": MILL}}, "PLC4": {"Tank": {"Level": "m"}}}
    _, settings, text = proposed_at(trees)
    assert [s.name for s in settings.servers] == ["PLC1", "PLC2", "PLC3"]
    assert "# opc.tcp://127.0.0.1:4843 has no machine that these tasks read" in text
    assert [(e.id, e.server, e.browse) for e in settings.equipment] == [
        ("PLC1-M", "PLC1", "Objects/M"), ("PLC2-M", "PLC2", "Objects/M"), (None, "PLC3", "Objects/Hall/*"),
    ]  # fmt: skip
    assert settings.tags["VibRms"] == "Vibration/RMS"


def test_a_task_without_a_model_is_left_out_with_its_next_step():
    """It chooses no machine either; asked for by name it is taken as any other."""
    learner = {"learner": wants_of("learner", Inputs(Trigger(every_s=60), 60, requires=("Level",)), has_model=False)}
    tree = {"M1": MILL, "Tank": {"Level": "m"}}
    proposal, settings, text = proposed(tree, WATCH | learner)
    assert browses(settings) == ["Objects/M1"]
    assert proposal.notes == ("learner lacks Level",)
    proposal, settings, text = proposed({"M1": MILL | {"Level": "m"}}, WATCH | learner)
    assert "ships no model: train one first, then add it with --task learner" in text
    assert [t.task for t in proposed(tree, learner, asked=True)[1].tasks] == ["learner"]


def test_nothing_that_looks_like_equipment():
    """The sentence says what was seen and where else to look."""
    with pytest.raises(DiscoveryError, match=r"'Objects' looks like equipment.*Objects A, B and 1 Variables.*--start"):
        propose({"PLC": browsed({"A": {}, "B": {}, "Clock": "s"})}, "Objects", WATCH, asked=False)
    with pytest.raises(DiscoveryError, match=r"Tank may be equipment, but none .* seen were Level.*--task"):
        propose({"PLC": browsed({"Tank": {"Level": "m"}})}, "Objects", WATCH, asked=False)


def test_names_from_the_server_stay_names():
    """A line break, a quote or ${...} in a BrowseName or unit adds no setting and breaks no line."""
    mill = {"Vib\nRms: x\nversion": {"RMS": "mm/s"}, "Vibration": {"RMS": "mm/s"}, "${HOME}": {"SpindleTemp": "°C\n#"}}
    tree = {"Mill: 1 #'\"\u2028${X}": mill | {"SpindleTemp": "°C"}}
    _, settings, text = proposed(tree)
    assert browses(settings) == ["Objects/Mill: 1 #'\"\u2028${X}"]
    assert not any("\n" in line or "\u2028" in line for line in text.split("\n") if line.startswith("#"))


def test_a_password_never_reaches_the_file():
    """The file names an environment variable instead; policy and user are as they were used."""
    security = {"policy": "Basic256Sha256", "user": "an,na", "password": "s3cret"}
    server = ServerSettings.model_validate({"name": "PLC", "url": "opc.tcp://h:4840", "security": security})
    proposal = propose({"PLC": browsed({"M1": MILL})}, "Objects", WATCH, asked=False)
    text = draft(proposal, Source((server,), "Objects", 10, "lineside.yaml"))
    assert "s3cret" not in text
    assert read_settings(text, environment={"PLC_PASSWORD": "s3cret"}).servers[0] == server


names = st.text("AB1 /&*?[]", max_size=3)


@given(st.sets(st.tuples(names, names), min_size=1, max_size=6), st.integers(1, 6))
def test_a_pattern_leads_to_exactly_what_was_wanted(there, count):
    """For any names, globs and separators in them: read back as settings do, it matches the wanted and no other."""
    wanted = sorted(there)[:count]
    pattern = pattern_of([("Objects", *w) for w in wanted], [("Objects", *t) for t in there])
    if pattern is not None:
        _, *parts = parse_address(pattern).parts
        assert [t for t in sorted(there) if all(map(matches, t, parts))] == wanted


def test_patterns_keep_to_what_was_browsed():
    """Beside the levels that --start names nothing is known, so its own pattern stays there."""
    lines = [("Objects", "Line1", "M1"), ("Objects", "Line2", "M2")]
    assert pattern_of(lines, lines, ("Objects", "Line?")) == "Objects/Line?/*"
    assert names_pattern(["A1", "A2"], ["A1", "A2", "B1"]) == ("A1", "A2")
    assert names_pattern(["A1", "A2"], ["A2", "A1"]) == ("*",)
    many = [f"A{i}" for i in range(6)]
    assert names_pattern(many, [*many, "B1"]) == ("A*",)
