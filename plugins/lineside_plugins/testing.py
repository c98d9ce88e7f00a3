"""The contract as runnable checks, for every task: those that ship and those of strangers.

In a test suite::

    from lineside_plugins.testing import CHECKS, Subject

    @pytest.mark.parametrize("check", CHECKS, ids=str)
    def test_contract(check):
        check(Subject("my_task", model))

or, without pytest, ``check_task("my_task", model)``. A failed check raises ``BrokenError`` with one sentence for the
author; a check that does not apply, or needs a model that is not given, raises ``SkippedError``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from lineside_plugins.conformance import declared, said
from lineside_plugins.conformance.subject import BrokenError, SkippedError, Subject
from lineside_plugins.synthetic import synthetic_batch
from lineside_plugins.types import ModelData, WindowBatch

__all__ = [
    "CHECKS",
    "BrokenError",
    "Check",
    "CheckResult",
    "Outcome",
    "SkippedError",
    "Subject",
    "check_task",
    "synthetic_batch",
]


@dataclass(frozen=True, slots=True)
class Check:
    """One rule of the contract. Call it with a subject: it returns, or raises BrokenError or SkippedError."""

    name: str
    states: str
    run: Callable[[Subject], None]

    def __call__(self, subject: Subject) -> None:
        """Check ``subject``."""
        self.run(subject)

    def __str__(self) -> str:
        return self.name


class Outcome(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Outcome of one check; ``detail`` says what broke, or why it was skipped."""

    name: str
    outcome: Outcome
    detail: str = ""


def _check(run: Callable[[Subject], None]) -> Check:
    return Check(run.__name__, (run.__doc__ or "").strip(), run)


CHECKS: tuple[Check, ...] = tuple(
    _check(run)
    for run in (
        declared.imports_are_light,
        declared.inputs_and_outputs_are_pure,
        declared.inputs_make_sense,
        declared.outputs_make_sense,
        declared.config_is_described,
        declared.folder_is_complete,
        said.one_entry_per_window,
        said.advice_keeps_its_declaration,
        said.batch_is_not_mutated,
        said.read_only_batches_are_taken,
        said.poor_windows_are_survived,
        said.answers_are_deterministic,
        said.order_does_not_matter,
        said.neighbours_do_not_matter,
        said.recommendations_survive_the_wire,
        said.close_can_follow_load,
    )
)


def check_task(
    name: str,
    model: ModelData | None = None,
    *,
    config: Mapping[str, object] | None = None,
    batch: WindowBatch | None = None,
) -> list[CheckResult]:
    """Run every check over the installed task ``name``; whatever it raises is a failed check, not an error here."""
    subject = Subject(name, model, dict(config or {}), batch)
    return [_result(check, subject) for check in CHECKS]


def _result(check: Check, subject: Subject) -> CheckResult:
    try:
        check(subject)
    except SkippedError as e:
        return CheckResult(check.name, Outcome.SKIPPED, str(e))
    except BrokenError as e:
        return CheckResult(check.name, Outcome.FAILED, str(e))
    except Exception as e:  # noqa: BLE001  # supervision point: a task author's code may raise anything
        return CheckResult(check.name, Outcome.FAILED, f"{type(e).__name__}: {e}")
    return CheckResult(check.name, Outcome.PASSED)
