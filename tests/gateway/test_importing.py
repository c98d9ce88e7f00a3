"""Files of other systems become recordings that training reads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from asyncua import Server, ua

from lineside_gateway.opcua.security import Pki
from lineside_gateway.recording import Archive, Recorder, RecordingError
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
    assert import_file(path, Archive(tmp_path / "r"), Reading(units={"VibRms": "mm/s"})) == ("tags", 3)
    found = reading.read(tmp_path / "r")
    assert found.series["M1", "VibRms"].value.tolist() == [25.4, 50.8]
    assert found.series["M1", "VibRms"].units == ("mm/s",)
    assert found.series["M1", "SpindleTemp"].units == ("degC",)


def test_a_wide_table_has_a_column_per_tag(tmp_path: Path) -> None:
    """Units stand in the header, an empty cell is no sample, text columns are no tags."""
    path = write(tmp_path / "wide.csv", WIDE)
    how = Reading("M2", time_column="when", units={"SpindleTemp": "degC"})
    import_file(path, Archive(tmp_path / "r"), how)
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
    ("text", "how", "why"),
    [
        ("", Reading(), "cannot be read"),
        ("time,tag,value\n", Reading(), "has no rows"),
        ("at,tag,value\n1,a,2\n", Reading(), "no column 'time'; it has at, tag, value"),
        ("time,tag,value\nsoon,a,2\n", Reading(), "is no time"),
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
