"""The command line: `harness VERB`, one file a verb.

Verb modules import only typer and the standard library at their top, so that `harness --help` answers at once.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import NoReturn

import typer

from analysis.errors import TableError
from harness import __version__
from harness.cli import analyze, collect, doctor, plan, power, reanalyze, reference, report, train, verify
from harness.errors import KdcapError, RunsFailed
from harness.files import FULL

EXIT_FAIL, EXIT_BAD_INPUT, EXIT_BUG = 1, 2, 70  # 0 and 3 are verdicts: `harness.verify.verdict`

app = typer.Typer(
    name="harness",
    help="Is this knowledge-distillation result real? Run the study, judge it, report it.",
    epilog="Start with `harness plan`. Exit codes: 0 done or pass, 1 failed, 2 bad input, "
    "3 inconclusive, 70 a bug in kdcap.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for module in (plan, train, collect, analyze, reanalyze, report, verify, power, doctor):
    app.command(no_args_is_help=False)(getattr(module, module.__name__.rsplit(".", 1)[1]))
app.add_typer(reference.app, name="reference")


def _version(show: bool) -> None:
    if show:
        typer.echo(f"kdcap {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Is this knowledge-distillation result real? Run the study, judge it, report it."""


def _stop(signum: int, _frame: FrameType | None) -> NoReturn:
    """Leave by way of every `finally`, which ends the workers; 130 and 143 are the shell's own codes for this."""
    sys.stderr.write("stopped; what was whole is kept, and the same command goes on from there.\n")
    raise SystemExit(128 + signum)


def main() -> None:
    """Entry point of the `harness` script: runs a verb and turns every ending into its exit code."""
    # numpy's matrices are small here: a second thread costs more than it gives, and one thread adds up in one order
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, _stop)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `harness plan | head`: end quietly when the reader has gone
    try:
        app()
    except (KdcapError, TableError) as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(EXIT_BAD_INPUT)
    except RunsFailed as failed:
        typer.echo(f"failed: {failed}", err=True)
        sys.exit(EXIT_FAIL)
    except OSError as error:
        if error.errno in FULL:
            free = shutil.disk_usage(Path.cwd()).free / 1e6
            where = error.filename or Path.cwd()
            typer.echo(
                f"error: {where}: expected room to write, found the disk full ({free:,.0f} MB free here); all that was "
                "whole is kept. Make room, and the same command goes on from there.",
                err=True,
            )
            sys.exit(EXIT_BAD_INPUT)
        where = error.filename or "what is written to"
        typer.echo(f"error: {where}: {error.strerror or error}; check path, permissions and disk space.", err=True)
        sys.exit(EXIT_BAD_INPUT)
    except Exception:  # noqa: BLE001 - the last border: whatever comes here is our own bug
        traceback.print_exc()
        typer.echo("error: this is a bug in kdcap; please report it with the lines above.", err=True)
        sys.exit(EXIT_BUG)
