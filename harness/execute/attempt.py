"""What every worker does around a run, wherever it is: check the code, and turn a failure into words."""

from __future__ import annotations

import traceback
from collections.abc import Callable

from harness.errors import EnvironmentProblem, KdcapError
from harness.execute.job import Job
from harness.store.code import training_code_sha256


def error_of(work: Callable[[], object]) -> str | None:
    """Do the work of one run: None, or what went wrong. A run's failure is a result, and no other run's."""
    from harness.training.loop import TrainingFailed  # imports torch

    try:
        work()
    except (KdcapError, TrainingFailed) as known:
        return str(known)
    except OSError as full:
        return f"{type(full).__name__}: {full}"
    except Exception:  # noqa: BLE001 - whatever it is, the other runs go on and the stage tells it
        return traceback.format_exc()
    return None


def need_same_code(job: Job, node: str) -> None:
    """Refuse to train with other code than the job was made for.

    Args:
        job: The job.
        node: Where this is, for people.

    Raises:
        StudyError: The run's method is not installed here.
        EnvironmentProblem: The training code here has another digest; names the node.
    """
    found = training_code_sha256(job.spec.method)
    if found != job.code_sha256:
        raise EnvironmentProblem(
            f"{node}: expected the training code of `harness train` ({job.code_sha256[:12]}), found another "
            f"({found[:12]}); install the same kdcap and methods on every node."
        )
