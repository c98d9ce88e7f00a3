"""Files of other systems become recordings that training reads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from asyncua import Server, ua

from lineside_gateway.opcua.security import Pki
from lineside_gateway.recording import Archive, Recorder, RecordingError, exports
from lineside_gateway.recording.historian import import_history
from lineside_gateway.recording.importing import Reading, import_file
from lineside_gateway.settings import ServerSettings
from lineside_workers.recorded import reading

LONG = """time,equipment_id,tag,value,unit
2026-01-05T00:00:00Z,M1,VibRms,1.0,in/s
2026-01-05T00:10:00Z,M1,VibRms,2.0,in/s
2026-01-05T00:00:00Z,M1,SpindleTemp,50,degC
"""
WIDE = "when,VibRms [mm/s],SpindleTemp [degF],Operator\n2026-01-05T00:00:00,1.5,212,anna\n2026-01-05T00:10:00,,32,bob\n"
EVENTS = "time,equipment_id,kind,text\n2026-01-05T05:00:00Z,M1,failure,bearing\n2026-01-05T06:00:00Z,M1,repair,\n"


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_long_table_is_read_and_converted(tmp_path: Path) -> None:
    """Rows of machine, tag and value keep their unit, or get the one asked for."""
    path = write(tmp_path / "long.csv", LONG)
    assert import_file(path, Archive(tmp_path / "r"), Reading(units={"VibRms": "mm/s"})).rows == 3
    found = reading.read(tmp_path / "r")
    assert found.series["M1", "VibRms"].value.tolist() == [25.4, 50.8]
    assert found.series["M1", "VibRms"].units == ("mm/s",)
    assert found.series["M1", "SpindleTemp"].units == ("degC",)


def test_a_wide_table_has_a_column_per_tag(tmp_path: Path) -> None:
    """Units stand in the header, an empty cell is no sample, text columns are no tags, which is said."""
    path = write(tmp_path / "wide.csv", WIDE)
    how = Reading("M2", {"SpindleTemp": "degC"}, exports.Layout("when"))
    assert import_file(path, Archive(tmp_path / "r"), how).left_out == ("Operator: no numbers",)
    found = reading.read(tmp_path / "r")
    assert found.tags == ("SpindleTemp", "VibRms")
    assert found.series["M2", "SpindleTemp"].value.tolist() == pytest.approx([100.0, 0.0])
    assert found.series["M2", "VibRms"].value.tolist()[:1] == [1.5]


def test_events_and_parquet_join_the_same_recording(tmp_path: Path) -> None:
    """A table with a kind is of events; Parquet is read like CSV."""
    archive = Archive(tmp_path / "r")
    import_file(write(tmp_path / "events.csv", EVENTS), archive, Reading())
    table = pa.table({"time": pa.array([1767571200000000], pa.timestamp("us", tz="UTC")), "tag": ["Load"],
                      "value": [3], "equipment_id": ["M1"]})  # fmt: skip
    pq.write_table(table, tmp_path / "tags.parquet")
    import_file(tmp_path / "tags.parquet", archive, Reading())
    found = reading.read(tmp_path / "r")
    assert [(e["kind"], e["equipment_id"], e["text"]) for e in found.events] == [
        ("failure", "M1", "bearing"), ("repair", "M1", ""),
    ]  # fmt: skip
    assert found.series["M1", "Load"].value.tolist() == [3.0]


@pytest.mark.parametrize(
    ("raw", "layout"),
    [
        (b"Zeit;Druck [bar]\n05.01.2026 01:00:00;3,25\n05.01.2026 01:10:00;4\n",
         exports.Layout("Zeit", "%d.%m.%Y %H:%M:%S", "Europe/Berlin")),
        ("Zeit;Druck [bar];Ort\n05.01.2026 01:00:00.000;3,25;Düse\n05.01.2026 01:10:00.000;4;\n".encode("cp1252"),
         exports.Layout("Zeit", "%d.%m.%Y %H:%M:%S.%f", "Europe/Berlin")),
        ("At\tDruck [bar]\n01/05/2026 12:00 AM\t3.25\n01/05/2026 12:10 AM\t4\n".encode("utf-16"),
         exports.Layout("At", "%m/%d/%Y %I:%M %p")),
        (b"datetime;p [bar]\n2026-01-05 00:00:00;3.25\n2026-01-05 00:10:00;4\n",
         exports.Layout(columns={"Druck [bar]": "p [bar]"})),
        (b"time,Druck [bar]\n1767571200,3.25\n1767571800,4\n", exports.Layout()),
        (b"time,Druck [bar]\n1767571200000,3.25\n1767571800000,4\n", exports.Layout()),
        (b"time,Druck [bar]\n2026-01-05T01:00:00+0100,3.25\n2026-01-05T01:10:00+0100,4\n",
         exports.Layout(zone="Asia/Tokyo")),
    ],
)  # fmt: skip
def test_a_file_is_read_as_its_system_writes_it(tmp_path: Path, raw: bytes, layout: exports.Layout) -> None:
    """Separator, decimal comma, encoding, format and zone of times; the machine may be the name of the file."""
    (tmp_path / "P1.csv").write_bytes(raw)
    import_file(tmp_path / "P1.csv", Archive(tmp_path / "r"), Reading("{file}", layout=layout))
    series = reading.read(tmp_path / "r").series["P1", "Druck"]
    assert series.time_us.tolist() == [1767571200000000, 1767571800000000]
    assert (series.value.tolist(), series.units) == ([3.25, 4.0], ("bar",))


def test_words_in_place_of_numbers_are_missing_samples(tmp_path: Path) -> None:
    """A historian's "No Data" leaves its tag readable, and is counted; a status may be a word."""
    text = "time,equipment_id,tag,value,status\n" + "".join(
        f"2026-01-05T00:0{n}:00Z,P1,Flow,{value},{status}\n"
        for n, (value, status) in enumerate([("1.5", "Good"), ("No Data", "Bad"), ("2", "Bad - timeout"), ("3", "")])
    )
    done = import_file(write(tmp_path / "pi.csv", text), Archive(tmp_path / "r"), Reading())
    assert done.left_out == ("1 of 4 cells of value that are no numbers, such as 'No Data'",)
    value = reading.read(tmp_path / "r").series["P1", "Flow"].value
    assert np.flatnonzero(np.isnan(value)).tolist() == [1, 2]
    assert value[[0, 3]].tolist() == [1.5, 3.0]


@pytest.mark.parametrize(
    ("text", "how", "why"),
    [
        ("", Reading(), "cannot be read"),
        ("time,tag,value\n", Reading(), "has no rows"),
        ("at,tag,value\n1,a,2\n", Reading(), "no column 'time'; it has at, tag, value"),
        ("time,tag,value\nsoon,a,2\n", Reading(), "is no time of ISO 8601; say how"),
        ("time,a\n13/01/2026 00:15,2\n", Reading("M1"), "fits every row: --time-format '%d/%m/%Y %H:%M'$"),
        ("time,a\n12/01/2026 00:15,2\n", Reading("M1"), "--time-format '%d/%m/%Y %H:%M' or '%m/%d/%Y %H:%M'$"),
        ("time,a\n2026-01-05 00:15,2\n", Reading("M1", layout=exports.Layout(zone="Mars")), "in zone 'Mars'"),
        ("time,a\n1,2\n2,2\n", Reading("M1"), "count no seconds since 1970"),
        ("time,a\n2026-01-05,2\n", Reading("M1", layout=exports.Layout(columns={"b": "c"})), "no column 'c'"),
        ("time,tag,value\n2026-01-05T00:00Z,a,open\n", Reading("M1"), "few numbers"),
        ("time,tag,value,status\n2026-01-05T00:00Z,a,2,odd\n", Reading("M1"), "none of Good, Uncertain, Bad"),
        ("time,tag,value\n2026-01-05T00:00:00Z,a,2\n", Reading(), "give --equipment"),
        ("time,note\n2026-01-05T00:00:00Z,hello\n", Reading("M1"), "no column of numbers"),
        (LONG, Reading(units={"VibRms": "furlong"}), "no conversion from 'in/s' to 'furlong'"),
        (LONG, Reading(units={"Flow": "l/min"}), "no tag 'Flow'"),
    ],
)
def test_what_cannot_be_imported_is_one_sentence(tmp_path: Path, text: str, how: Reading, why: str) -> None:
    """The file, what is wrong and what to do; nothing is written."""
    with pytest.raises(RecordingError, match=why):
        import_file(write(tmp_path / "x.csv", text), Archive(tmp_path / "r"), how)
    assert list((tmp_path / "r").iterdir()) == []


async def test_the_history_of_a_server_becomes_a_recording(tmp_path: Path, unused_tcp_port: int) -> None:
    """Every numeric tag of the machines found that has a history is read, at its source's time; text is not."""
    server, begin = Server(), datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=30)
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{unused_tcp_port}")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    line = await server.nodes.objects.add_folder(ua.NodeId("Line", 2), "2:Line")
    machine = await line.add_object(ua.NodeId("M1", 2), "2:M1")
    tag = await machine.add_variable(ua.NodeId("M1.VibRms", 2), "2:VibRms", 0.0)
    note = await machine.add_variable(ua.NodeId("M1.Note", 2), "2:Note", "text")
    async with server:
        before = begin - timedelta(minutes=1)
        await tag.write_value(ua.DataValue(ua.Variant(9.0), SourceTimestamp=before))
        for node in (tag, note):
            await server.historize_node_data_change(node, period=timedelta(days=1), count=1000)
        for n in range(5):
            stamp = begin + timedelta(minutes=n)
            await tag.write_value(ua.DataValue(ua.Variant(float(n)), SourceTimestamp=stamp))
        settings = ServerSettings(name="server", url=f"opc.tcp://127.0.0.1:{unused_tcp_port}")
        recorder = Recorder(Archive(tmp_path / "r"))
        assert await import_history(settings, Pki(tmp_path / "pki", "t"), "Objects/Line/*", 1.0, recorder) == []
    recorder.write(recorder.take(), last=True)
    series = reading.read(tmp_path / "r").series
    assert list(series) == [("M1", "VibRms")]
    got = {int(t): v for t, v in zip(series["M1", "VibRms"].time_us, series["M1", "VibRms"].value, strict=True)}
    assert [got[round((begin + timedelta(minutes=n)).timestamp() * 1e6)] for n in range(5)] == [0.0, 1.0, 2.0, 3.0, 4.0]
