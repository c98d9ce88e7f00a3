"""HistoryRead of the plant's servers, over the wire, by asyncua's own client and by requests of ours."""

from __future__ import annotations

from datetime import timedelta

import pytest
from asyncua import ua

from lineside_plant import PLANT_EPOCH

START_H = 3


@pytest.fixture(scope="module")
def worn(serve_plant):
    """A lock-step plant that stands still three hours after its epoch."""
    return serve_plant("--lockstep", "--seed", "11", "--start-h", str(START_H))


def at(hours: float):
    return PLANT_EPOCH + timedelta(hours=hours)


async def history(plc, tags, details, points=None, *, release=False):
    params = ua.HistoryReadParameters()
    params.HistoryReadDetails = details
    params.ReleaseContinuationPoints = release
    params.NodesToRead = [
        ua.HistoryReadValueId(NodeId=plc.tag(t).nodeid, ContinuationPoint=(points or {}).get(t)) for t in tags
    ]
    return await plc.client.uaclient.history_read(params)


def raw(start, end, count=0, *, bounds=False):
    return ua.ReadRawModifiedDetails(
        IsReadModified=False, StartTime=start, EndTime=end, NumValuesPerNode=count, ReturnBounds=bounds
    )


async def test_a_sampled_tag_has_one_raw_sample_a_minute(worn):
    """Three hours before serving give 180 Good samples, a minute apart, within the tag's own range."""
    async with worn.connect("A1") as plc:
        values = await plc.tag("VibRms").read_raw_history(at(0), at(START_H + 1), return_bounds=False)
        present = await plc.tag("State").read_raw_history(at(0), at(START_H + 1), return_bounds=False)
    times = [v.SourceTimestamp for v in values]
    assert times == [at(0) + timedelta(minutes=k + 1) for k in range(60 * START_H)]
    assert all(v.StatusCode.is_good() and 0 < v.Value.Value < 50 for v in values)
    assert {type(v.Value.Value) for v in present} == {int}


async def test_the_end_asked_for_last_is_left_out_and_backwards_is_newest_first(worn):
    """A span includes its start and not its end, in both directions (Part 11, 4.4)."""
    async with worn.connect("A1") as plc:
        forth = await plc.tag("VibRms").read_raw_history(at(1), at(2), return_bounds=False)
        back = await plc.tag("VibRms").read_raw_history(at(2), at(1), return_bounds=False)
        (newest,) = await plc.tag("VibRms").read_raw_history(None, at(9), numvalues=1, return_bounds=False)
    assert (forth[0].SourceTimestamp, forth[-1].SourceTimestamp) == (at(1), at(2) - timedelta(minutes=1))
    assert (back[0].SourceTimestamp, back[-1].SourceTimestamp) == (at(2), at(1) + timedelta(minutes=1))
    assert newest.SourceTimestamp == at(START_H)


async def test_continuation_points_lead_through_all_values(worn):
    """Pages of 7 joined are what one answer holds, and the last one has no continuation point."""
    tags = ("VibRms", "ToolCount")
    async with worn.connect("A1") as plc:
        whole = await history(plc, tags, raw(at(0), at(9)))
        pages: dict[str, list[ua.DataValue]] = {t: [] for t in tags}
        points: dict[str, bytes] = {}
        left = tags
        while left:
            answers = await history(plc, left, raw(at(0), at(9), 7), points)
            for tag, answer in zip(left, answers, strict=True):
                assert len(answer.HistoryData.DataValues) <= 7
                pages[tag] += answer.HistoryData.DataValues
            points = {t: a.ContinuationPoint for t, a in zip(left, answers, strict=True) if a.ContinuationPoint}
            left = tuple(points)
        (released,) = await history(plc, ("VibRms",), raw(at(0), at(9), 7), {"VibRms": b"12345678"}, release=True)
        (odd,) = await history(plc, ("VibRms",), raw(at(0), at(9), 7), {"VibRms": b"not ours"[:3]})
    for tag, answer in zip(tags, whole, strict=True):
        assert pages[tag] == answer.HistoryData.DataValues
        assert len(pages[tag]) > 14
    assert released.StatusCode.is_good()
    assert odd.StatusCode.value == ua.StatusCodes.BadContinuationPointInvalid


async def test_bounds_tell_what_a_held_tag_was_at_the_start(worn):
    """With bounds the sample before the start comes too; where there is none, BadBoundNotFound stands in."""
    async with worn.connect("A1") as plc:
        (plain,) = await history(plc, ("ActiveFamily",), raw(at(2.99), at(3)))
        (bounded,) = await history(plc, ("ActiveFamily",), raw(at(2.99), at(3), bounds=True))
        (early,) = await history(plc, ("VibRms",), raw(at(-1), at(0.5), bounds=True))
    first = bounded.HistoryData.DataValues[0]
    assert plain.StatusCode.value == ua.StatusCodes.GoodNoData
    assert first.SourceTimestamp < at(2.99)
    assert first.Value.Value in range(-1, 4)
    assert early.HistoryData.DataValues[0].StatusCode.value == ua.StatusCodes.BadBoundNotFound
    assert early.HistoryData.DataValues[1].SourceTimestamp == at(0) + timedelta(minutes=1)


async def test_what_has_no_history_says_so(worn):
    """Text tags, unknown nodes, modified values, a span without two of three bounds: each its own StatusCode."""
    async with worn.connect("A1") as plc:
        text, unknown = await history(plc, ("SerialNo", "Nowhere"), raw(at(0), at(1)))
        modified = raw(at(0), at(1))
        modified.IsReadModified = True
        (edited,) = await history(plc, ("VibRms",), modified)
        (open_ended,) = await history(plc, ("VibRms",), raw(at(0), ua.get_win_epoch()))
        with pytest.raises(ua.uaerrors.BadTooManyOperations):
            await history(plc, ("VibRms",) * 101, raw(at(0), at(1)))
        level = [await plc.tag(t).get_access_level() for t in ("VibRms", "SerialNo")]
        historizing = await plc.tag("VibRms").read_attribute(ua.AttributeIds.Historizing)
    codes = [r.StatusCode.value for r in (text, unknown, edited, open_ended)]
    assert codes == [
        ua.StatusCodes.BadHistoryOperationUnsupported,
        ua.StatusCodes.BadNodeIdUnknown,
        ua.StatusCodes.BadHistoryOperationUnsupported,
        ua.StatusCodes.BadHistoryOperationInvalid,
    ]
    assert [ua.AccessLevel.HistoryRead in bits for bits in level] == [True, False]
    assert historizing.Value.Value is True


async def test_events_before_serving_are_in_the_history(worn):
    """The MES's Server object tells of job orders that started before it listened, newest first, in pages too."""
    async with worn.connect("MES") as mes:
        server, kind = mes.client.nodes.server, mes.node("PlantEventType")
        forth = await server.read_event_history(at(0), at(9), evtypes=kind)
        back = await server.read_event_history(at(9), at(0), numvalues=5, evtypes=kind)
        notifier = await server.read_event_notifier()
    assert ua.EventNotifier.HistoryRead in notifier
    assert [e.Time for e in forth] == sorted(e.Time for e in forth)
    assert "job_order_started" in {e.Kind for e in forth}
    assert [e.EventId for e in back] == [e.EventId for e in forth[:-6:-1]]


async def test_history_goes_on_while_serving(serve_plant):
    """Samples, changes and events after the start are in the history, one sample a minute, with the faults' status."""
    plant = serve_plant("--lockstep", "--seed", "12", "--start-h", "1", "--inject", "bad:A1:SpindleTemp:600:1200")
    await plant.advance(1800)
    async with plant.connect("A1") as plc, plant.connect("MES") as mes:
        values = await plc.tag("VibRms").read_raw_history(at(0), at(9), return_bounds=False)
        (faulty,) = await history(plc, ("SpindleTemp",), raw(at(1), at(9)))
        events = await mes.client.nodes.server.read_event_history(at(1), at(9), evtypes=mes.node("PlantEventType"))
    assert [v.SourceTimestamp for v in values] == [at(0) + timedelta(minutes=k + 1) for k in range(90)]
    bad = [v.SourceTimestamp for v in faulty.HistoryData.DataValues if not v.StatusCode.is_good()]
    assert (bad[0], bad[-1]) == (at(1 + 1 / 6), at(1 + 1 / 3) - timedelta(minutes=1))
    assert events


async def test_what_the_past_left_is_shown_at_start(worn):
    """Tags that report on change and the job orders show their present state before time goes on."""
    async with worn.connect("A1") as plc, worn.connect("MES") as mes:
        tags = {t: await plc.tag(t).read_data_value() for t in ("SerialNo", "PartCount", "ToolCount")}
        orders = await mes.node("JobOrderReceiver.JobOrderList").read_data_value()
    assert all(value.Value.Value for value in tags.values())
    assert all(at(0) < value.SourceTimestamp <= at(START_H) for value in tags.values())
    assert orders.SourceTimestamp == at(START_H)
    assert orders.Value.Value
