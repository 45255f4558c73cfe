"""What a run record may say of size, speed, calibration and teacher."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from harness.store import record as records
from harness.store.record import FootprintRecord, TeacherRecord

LATENCY = {"1": 1.5, "128": 40.0}


def test_a_footprint_is_told_for_both_batch_sizes() -> None:
    """Parameters, operations and two latencies, as JSON and back."""
    footprint = FootprintRecord(parameters=10, forward_flop=20, latency_ms=LATENCY)
    assert FootprintRecord.model_validate_json(footprint.model_dump_json()) == footprint


@pytest.mark.parametrize(
    "changes",
    [
        {"parameters": 0},
        {"forward_flop": 1.5},
        {"latency_ms": {"1": 1.5}},
        {"latency_ms": LATENCY | {"64": 20.0}},
        {"latency_ms": LATENCY | {"1": 0.0}},
    ],
)
def test_a_footprint_without_a_measure_is_none(changes: dict[str, object]) -> None:
    """Nothing is free, no latency is missing, and none is of another batch size."""
    whole: dict[str, object] = {"parameters": 10, "forward_flop": 20, "latency_ms": LATENCY}
    with pytest.raises(ValidationError):
        FootprintRecord.model_validate(whole | changes)


def test_calibration_error_is_a_fraction_and_a_teacher_trained_or_not() -> None:
    """Percent and other words are refused."""
    with pytest.raises(ValidationError):
        records.TestRecord(accuracy=0.9, loss=0.3, ece=3.0, per_class_accuracy=(0.9,))
    for variant in ("trained", "untrained"):
        teacher = {"run": "resnet34-none-s0", "weights_sha256": "a" * 64, "variant": variant}
        assert TeacherRecord.model_validate(teacher).variant == variant
    with pytest.raises(ValidationError):
        TeacherRecord.model_validate({"run": "r", "weights_sha256": "a" * 64, "variant": "random"})
