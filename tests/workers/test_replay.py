"""When two versions of a model say something else of one window."""

from __future__ import annotations

import pytest

from lineside_workers.hosting.replay import Said, differ


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (Said(False, 40.0, "", (35.0, 45.0)), Said(False, 44.0, "", (38.0, 50.0)), False),
        (Said(False, 40.0, "", (35.0, 45.0)), Said(False, 44.0, "", (41.0, 47.0)), True),
        (Said(False, 40.0, "", (39.0, 41.0)), Said(False, 44.0, "", (35.0, 50.0)), True),
        (Said(False, 0.2, ""), Said(False, 0.25, ""), False),
        (Said(False, 0.2, ""), Said(False, 0.35, ""), True),
        (Said(False, 40.0, "", (35.0, 45.0)), Said(True, 40.0, "", (35.0, 45.0)), True),
        (Said(None, None, "unlike all it knows"), Said(False, 40.0, "", (35.0, 45.0)), True),
        (Said(None, None, "unlike all it knows"), Said(None, None, "a tag is missing"), False),
    ],
)
def test_versions_differ_in_flag_silence_or_beyond_their_intervals(one: Said, other: Said, expected: bool) -> None:
    """Two values within each other's interval say the same, however many degrees or hours lie between them."""
    assert differ(one, other, alike=True) is expected
    assert differ(one, other, alike=False) is (expected and (one.flag, one.why) != (other.flag, other.why))
