"""Every error that a user can meet, one family.

    KdcapError                 exit code 2: expected, found, where, what to do next
    ├── StudyError             the study's description (params.yaml, profiles/*.yaml)
    ├── DataError              the images
    ├── EnvironmentProblem     packages, devices, disk, a second process at work
    ├── StoreError             run folders and records
    └── ReferenceProblem       references to verify against
    RunsFailed                 exit code 1: some runs of a stage failed; the others are whole

A failed *verdict* is a result with an exit code, not an exception. Errors about a runs table are
`analysis.errors.TableError`, since `analysis` stands alone; the command line treats both alike.
"""

from __future__ import annotations


class KdcapError(Exception):
    """One plain sentence for the user; the command line prints it and exits with 2."""


class StudyError(KdcapError):
    """The study's description cannot be used."""


class DataError(KdcapError):
    """The images are missing, damaged or of the wrong shape."""


class EnvironmentProblem(KdcapError):
    """The machine lacks something: a package, disk space, the lock on the workspace."""


class StoreError(KdcapError):
    """A run folder cannot be read or written."""


class ReferenceProblem(KdcapError):
    """A reference cannot be found, read or trusted."""


class RunsFailed(Exception):
    """Some runs failed; all others are done. The command line exits with 1."""
