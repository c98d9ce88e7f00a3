from __future__ import annotations

import pytest

from lineside_plugins.registry import installed
from lineside_workers.errors import SettingsError
from lineside_workers.supervision.lanes import lanes


def test_the_shortest_deadline_has_a_process_of_its_own() -> None:
    """Of the built-in tasks a reject verdict waits behind none; all are hosted once."""
    urgent, rest = lanes(tuple(installed()))
    assert urgent == ("reject",)
    assert sorted(urgent + rest) == sorted(installed())


def test_who_says_what_is_urgent_is_followed() -> None:
    """Names, none, and a single task that needs no second process."""
    tasks = ("maintenance", "reject", "schedule")
    assert lanes(tasks, "maintenance, reject") == (("maintenance", "reject"), ("schedule",))
    assert lanes(tasks, "none") == (tasks,)
    assert lanes(("schedule",)) == (("schedule",),)


def test_an_urgent_task_that_is_not_hosted_is_named() -> None:
    """The sentence lists what is hosted."""
    with pytest.raises(SettingsError, match="'maintenence', which is not hosted here; hosted: maintenance, reject"):
        lanes(("maintenance", "reject"), "maintenence")
