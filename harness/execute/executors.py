"""Which executor carries out the runs; each is imported only when it is asked for, for what it needs may be missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.errors import StudyError
from harness.execute.job import Executor


def make_executor(
    name: str,
    methods: Sequence[str],
    *,
    workers: int | None = None,
    runs_per_gpu: int | None = None,
    address: str | None = None,
) -> Executor:
    """Make the executor of a name.

    Args:
        name: `local` (processes on this machine), `ray` (a Ray cluster) or `slurm` (a Slurm site).
        methods: The study's methods, whose packages every worker imports.
        workers: Runs at once; None for as many as there is room for.
        runs_per_gpu: Runs at once on a GPU; None to let measured memory decide (Ray: 1).
        address: Of the Ray cluster; None for the executor's own default. Others have none.

    Raises:
        StudyError: An option was given that the executor does not have.
        EnvironmentProblem: What it needs is not installed or not there.
    """
    if address is not None and name != "ray":
        raise StudyError(
            f"--address: expected with --executor ray, found with --executor {name}, which has no address; leave it "
            "out, or unset KDCAP_RAY_ADDRESS."
        )
    match name:
        case "local":
            from harness.execute.local import LocalExecutor

            return LocalExecutor(workers, methods, runs_per_gpu)
        case "ray":  # the ray executor's lines
            from harness.execute.ray_cluster import RayExecutor

            _refuse(name, {"--workers": workers})
            return RayExecutor(address, methods, runs_per_gpu or 1)
        case "slurm":  # the slurm executor's lines
            from harness.execute.slurm import SlurmExecutor
            from harness.study.load import PARAMS, Params, load_strict

            _refuse(name, {"--workers": workers, "--runs-per-gpu": runs_per_gpu})
            return SlurmExecutor(load_strict(PARAMS, Params).slurm)
        case _:
            raise ValueError(f"no executor is named {name}")


def _refuse(name: str, options: Mapping[str, int | None]) -> None:
    """Options that an executor does not have must not have been given."""
    if given := [option for option, value in options.items() if value is not None]:
        raise StudyError(
            f"{', '.join(given)}: expected with another executor, found with --executor {name}, where the cluster "
            "decides how many runs it holds; leave it out."
        )
