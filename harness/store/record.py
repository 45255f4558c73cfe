"""The run record: what was asked, what was done, on what, and the digests of every file beside it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from harness.files import canonical_json, sha256_of_bytes
from harness.study.spec import Frozen, Positive, RunSpec

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Fraction = Annotated[float, Field(ge=0, le=1)]
WEIGHTS, CORRECT_BEST, CORRECT_LAST = "weights.safetensors", "correct_best.bin", "correct_last.bin"
RECORD = "record.json"
_SEAL, _END = ',\n "record_sha256": "', '"\n}\n'  # around a record's own digest


class EpochRecord(Frozen):
    """One epoch; fields as in `harness.training.loop.Epoch`."""

    epoch: int
    lr: float
    train_loss: float
    train_ce: float
    train_kd: float | None
    train_acc: Fraction
    val_loss: float
    val_acc: Fraction
    grad_norm_student: float
    grad_norm_projections: float | None


class TestRecord(Frozen):
    """Test outcome of one checkpoint: accuracies and expected calibration error (15 bins) are fractions, loss nats."""

    accuracy: Fraction
    loss: float
    ece: Fraction
    per_class_accuracy: Annotated[tuple[Fraction, ...], Field(strict=False)]


class FidelityRecord(Frozen):
    """Fidelity to the teacher on the test images; divergences in nats (tiny negatives are rounding)."""

    agreement: Fraction
    kl_t1: float
    kl_t4: float


class TeacherRecord(Frozen):
    """The teacher that was used: its run, the digest of its weights, and whether these were the trained ones."""

    run: str
    weights_sha256: Digest
    variant: Literal["trained", "untrained"]


class FootprintRecord(Frozen):
    """What one network costs to use.

    Attributes:
        parameters: Trainable parameters; a method's own (projections) are left out.
        forward_flop: Floating-point operations of one image's forward pass, by torch's counter.
        latency_ms: Milliseconds of a forward pass by batch size, 1 and 128 images, measured on the run's device.
    """

    parameters: Annotated[int, Field(ge=1)]
    forward_flop: Annotated[int, Field(ge=1)]
    latency_ms: Annotated[dict[Literal["1", "128"], Positive], Field(min_length=2)]


class RunRecord(Frozen):
    """record.json.

    Attributes:
        schema_version: Version of this structure.
        name: Readable name, the folder's.
        spec: The run's full description.
        spec_sha256: Its identity.
        code_sha256: Digest of the training code (harness/training).
        data_sha256: Digest of the images, labels and split.
        teacher: The teacher used; None for a baseline.
        method_source: Package and version that the method comes from (`kdcap 0.1.0`); None for a baseline.
        stack: Versions and hardware that the bits depend on.
        settings: Determinism settings as read back from torch.
        history: Every epoch.
        seconds_per_epoch: Wall time of each epoch.
        seconds: Wall time of all epochs.
        resumed_at: Epochs after which the run was cut and went on.
        best_epoch: Epoch of the reported checkpoint, chosen on validation images.
        test_best: Test outcome there, the reported one.
        test_last: Test outcome at the last epoch.
        fidelity: Fidelity to the teacher; None for a baseline.
        footprint: Size and speed of the trained network.
        test_images: Images in the test set.
        test_openings: How often the test set was taken out: once for each checkpoint, after training.
        last_weights_sha256: Digest of the weights at the last epoch.
        history_sha256: Digest of `history`.
        files: Digest of every other file of the folder.
        record_sha256: Digest of the file's text without this last line; see `text`.
    """

    schema_version: Literal["kdcap.run/3"] = "kdcap.run/3"
    name: str
    spec: RunSpec
    spec_sha256: Digest
    code_sha256: Digest
    data_sha256: Digest
    teacher: TeacherRecord | None
    method_source: str | None
    stack: dict[str, str]
    settings: dict[str, str | int | bool]
    history: Annotated[tuple[EpochRecord, ...], Field(strict=False)]
    seconds_per_epoch: Annotated[tuple[float, ...], Field(strict=False)]
    seconds: float
    resumed_at: Annotated[tuple[int, ...], Field(strict=False)]
    best_epoch: int
    test_best: TestRecord
    test_last: TestRecord
    fidelity: FidelityRecord | None
    footprint: FootprintRecord
    test_images: int
    test_openings: int
    last_weights_sha256: Digest
    history_sha256: Digest
    files: dict[str, Digest]
    record_sha256: str = ""

    @property
    def val_acc(self) -> float:
        """Best validation accuracy, a fraction."""
        return self.history[self.best_epoch - 1].val_acc

    def text(self) -> str:
        """record.json: its last line is the SHA-256 of the text before it.

        Of the text and not of the values, since a study may have a hundred thousand records to check.
        """
        content = self.model_dump_json(indent=1, exclude={"record_sha256"}).removesuffix("\n}")
        return f"{content}{_SEAL}{sha256_of_bytes(content.encode())}{_END}"


def parse(text: str) -> RunRecord:
    """Read record.json.

    Raises:
        ValueError: It is not a record, or was edited after it was written; says which.
    """
    try:
        record = RunRecord.model_validate_json(text)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the whole file"
        raise ValueError(f"{RECORD} is not a run record ({key}: {first['msg']})") from None
    content, _, seal = text.rpartition(_SEAL)
    if seal != f"{sha256_of_bytes(content.encode())}{_END}":
        raise ValueError(f"{RECORD} was edited after it was written")
    return record


def history_digest(history: tuple[Any, ...]) -> str:
    """SHA-256 of a history: every epoch's losses, accuracies and norms, to the last digit."""
    return sha256_of_bytes(canonical_json([epoch.model_dump(mode="json") for epoch in history]).encode())
