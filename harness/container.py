"""The container's entry point: makes the volume a workspace, says what is about to happen, and runs the command.

`dvc` and `harness` commands need a workspace, which is the volume: the image brings a pristine one, and a volume is
filled from it once. Every other command is run as it is.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from harness import __version__
from harness.errors import EnvironmentProblem, KdcapError
from harness.files import canonical_json, sha256_of_bytes, sha256_of_file, write_json, write_whole
from harness.study.load import PARAMS, load_study, resolve_profile
from harness.workspace import Workspace

WORKSPACE = Path("/kdcap")
TEMPLATE = Path("/opt/kdcap/workspace")
MOUNTED_DATA = Path("/data")  # images brought by the user: an archive, or the folder that is in it
STAMP, SEEDING, LOCK = ".kdcap.json", ".kdcap.seeding", ".kdcap.lock"
_HELP = {"--help", "-h", "--version"}
_MAY_BE_THERE = {"data", "lost+found", SEEDING, STAMP, LOCK, ".kdcap.home"}  # in a folder that is not yet a workspace
BEFORE = ".kdcap.before"  # what KDCAP_ADOPT has replaced
_FILLING_S = 60.0  # patience with another container that is filling the volume
_MOMENT_S = 2.0  # and with one that looks after it
_LAST_WORDS_S = 8.0  # of docker's ten seconds between SIGTERM and SIGKILL


def main() -> None:
    """Run the container's command; exits as it does, or with 2 and a sentence where there can be no workspace."""
    command = sys.argv[1:] or ["harness", "--help"]
    if shutil.which(command[0]) is None:
        _say(f"error: {command[0]}: expected a command of the image, found none of that name; try `harness --help`.")
        sys.exit(127)  # a shell's code for it
    try:
        if not _needs_workspace(command):
            os.execvp(command[0], command)  # noqa: S606 - the user's own command, and no shell
        sys.exit(_in_workspace(command))
    except KeyboardInterrupt:
        sys.exit(130)
    except KdcapError as error:
        _say(f"error: {error}")
    except shutil.Error as error:  # of a whole folder: every file with its reason
        _, target, why = error.args[0][0]
        _say(f"error: {target}: {why}; check the volume's permissions and free space.")
    except PermissionError as error:
        where = Path(error.filename2 or error.filename or WORKSPACE)
        there = next(path for path in (where, *where.parents) if os.path.lexists(path))
        owner = there.lstat().st_uid
        _say(
            f"error: {where}: expected to be allowed to change it, found that {there} belongs to user id {owner}, and "
            f"this container runs as {os.getuid()}; give it `--user {owner}`."
        )
    except OSError as error:
        where = error.filename or WORKSPACE
        _say(f"error: {where}: {error.strerror or error}; check the volume's permissions and free space.")
    sys.exit(2)


def _in_workspace(command: Sequence[str]) -> int:
    """Make the volume ready, say what is about to happen, and run a command there: its exit code."""
    os.environ.update(homes(WORKSPACE, os.environ))
    if (kept := prepare(WORKSPACE, TEMPLATE, revision=os.environ.get("KDCAP_REVISION", "unknown"))) is not None:
        _say(kept)
    link_data(MOUNTED_DATA, WORKSPACE / "data")
    if (lost := dies_with_container(WORKSPACE, Path("/proc/mounts").read_text(encoding="utf-8"))) is not None:
        _say(lost)
    os.chdir(WORKSPACE)
    with _alone(command):
        if command[:2] in (["dvc", "repro"], ["harness", "train"]):
            _announce(command)
        return supervise(command)


def _needs_workspace(command: Sequence[str]) -> bool:
    return command[0] in ("dvc", "harness") and len(command) > 1 and not _HELP & {*command}


def homes(workspace: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Settings that let any user id work on a read-only root: all that programs keep lies on the volume.

    Args:
        workspace: The volume.
        environment: The variables as they are.

    Returns:
        Variables to set: HOME, which an unknown user id lacks; USER, which DVC asks for; DVC's site cache; and TMPDIR
        where /tmp cannot be written.
    """
    home = workspace / ".kdcap.home"
    found = {
        "HOME": str(home),
        "USER": environment.get("USER", "kdcap"),
        "DVC_SITE_CACHE_DIR": str(home / "dvc"),
    }
    if not os.access("/tmp", os.W_OK):  # noqa: S108 - looked at, not written to
        found["TMPDIR"] = str(home / "tmp")
    return found


def prepare(workspace: Path, template: Path, *, revision: str) -> str | None:
    """Make a folder a workspace of this image: fill it where it is empty, refuse one of another version.

    Args:
        workspace: The folder, a volume as a rule.
        template: The image's pristine workspace.
        revision: The image's source revision, for people.

    Returns:
        Where the study's files went that KDCAP_ADOPT has replaced, in a sentence; None if it has replaced none.

    Raises:
        EnvironmentProblem: The folder cannot be written to, holds something else, or is of another version.
    """
    if not os.access(workspace, os.W_OK | os.X_OK):
        raise EnvironmentProblem(
            f"{workspace}: expected a folder that user id {os.getuid()} can write to, found it read-only or owned by "
            f"{workspace.stat().st_uid}; give it a volume (`-v kdcap:/kdcap`), or that id (`--user`)."
        )
    ours, kept = _digest(template), None
    if _stamp(workspace).get("template_sha256") != ours:
        with locked(workspace, "filling the volume", patience_s=_FILLING_S):
            made = _stamp(workspace)  # another container may have been quicker
            if not made:
                _refuse_foreign(workspace)
            elif made["template_sha256"] != ours:
                kept = _adopt(workspace, made, revision)
            _seed(workspace, template)
            write_json(workspace / STAMP, {"kdcap": __version__, "revision": revision, "template_sha256": ours})
            (workspace / SEEDING).unlink()
    for folder in (os.environ.get("TMPDIR"), os.environ.get("HOME")):
        if folder is not None and Path(folder).is_relative_to(workspace):
            Path(folder).mkdir(parents=True, exist_ok=True)
    return kept


def _refuse_foreign(workspace: Path) -> None:
    """A marker tells a fill that was cut from a folder that is somebody else's."""
    foreign = {path.name for path in workspace.iterdir()} - _MAY_BE_THERE
    if foreign and not (workspace / SEEDING).exists():
        raise EnvironmentProblem(
            f"{workspace}: expected an empty folder or a volume of kdcap, found {', '.join(sorted(foreign)[:3])} in "
            "it; mount an empty one."
        )


def _adopt(workspace: Path, made: Mapping[str, str], revision: str) -> str:
    """Give a volume of another image to this one, if that is wanted: what users edit is set aside first."""
    if os.environ.get("KDCAP_ADOPT") != "1":
        raise EnvironmentProblem(
            f"{workspace}: expected a volume of kdcap {__version__} (revision {revision}), found one of "
            f"{made['kdcap']} (revision {made['revision']}); use that image, or another volume, or "
            "`-e KDCAP_ADOPT=1`: it takes this image's code and profiles and keeps all runs; those that "
            "other training code made are then trained again."
        )
    shutil.rmtree(workspace / BEFORE, ignore_errors=True)
    (workspace / BEFORE).mkdir()
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(workspace / name, workspace / BEFORE)
    shutil.copytree(workspace / "profiles", workspace / BEFORE / "profiles")
    return (
        f"the volume is this image's now; params.yaml, dvc.yaml and profiles as they were are in {workspace / BEFORE}"
    )


def _seed(workspace: Path, template: Path) -> None:
    """Copy the template; profiles of the user's own and DVC's cache stay."""
    (workspace / SEEDING).touch()
    for source in template.iterdir():
        target = workspace / source.name
        if not source.is_dir():
            shutil.copy(source, target)
            continue
        if source.name not in (".dvc", "profiles") and target.exists():
            shutil.rmtree(target)
        shutil.copytree(source, target, dirs_exist_ok=True)
    os.sync()  # the stamp must not reach the disk before what it vouches for


def _stamp(workspace: Path) -> dict[str, str]:
    """What the workspace says it was made by; nothing where it says nothing, or filling it was cut."""
    if (workspace / SEEDING).exists():
        return {}
    try:
        made = json.loads((workspace / STAMP).read_text(encoding="utf-8"))
        return {key: str(made[key]) for key in ("kdcap", "revision", "template_sha256")}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError):
        raise EnvironmentProblem(
            f"{workspace / STAMP}: expected what an earlier container wrote, found something else; make an empty file "
            f"{SEEDING} beside it: the next start fills the volume again, and keeps all runs."
        ) from None


def _digest(template: Path) -> str:
    files = sorted(path for path in template.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return sha256_of_bytes(
        canonical_json([[path.relative_to(template).as_posix(), sha256_of_file(path)] for path in files]).encode()
    )


def link_data(mounted: Path, data: Path) -> None:
    """Let the data folder show what is mounted now: an archive is then unpacked beside its link, where one can write.

    Args:
        mounted: Where the user mounts images; need not exist.
        data: The workspace's data folder.
    """
    for link in data.iterdir() if data.is_dir() else ():
        if link.is_symlink() and not link.exists():  # of an earlier mount
            link.unlink(missing_ok=True)
    for source in mounted.iterdir() if mounted.is_dir() else ():
        data.mkdir(exist_ok=True)
        with suppress(FileExistsError):
            (data / source.name).symlink_to(source)


def dies_with_container(workspace: Path, mounts: str) -> str | None:
    """A sentence for people where the workspace is no volume, or one in memory; None where it lasts.

    Args:
        workspace: The folder.
        mounts: /proc/mounts.
    """
    kinds = {place: kind for _, place, kind, *_ in map(str.split, mounts.splitlines())}
    if kinds.get(str(workspace)) not in (None, "tmpfs"):
        return None
    return (
        f"warning: {workspace} is no volume, so runs and results die with this container; "
        f"`-v kdcap:{workspace}` keeps them."
    )


@contextmanager
def _alone(command: Sequence[str]) -> Iterator[None]:
    """Let a `dvc` command have the volume for itself; `harness train` has a lock of its own, and others only read.

    DVC takes a lock whose process is not here for a dead one, and every container numbers its processes anew. So two
    containers would both go on; and one that was killed can leave a lock that names a process of the next.
    """
    if command[0] != "dvc":
        yield
        return
    with locked(WORKSPACE, " ".join(command), patience_s=_MOMENT_S):
        (WORKSPACE / ".dvc" / "tmp" / "rwlock").unlink(missing_ok=True)
        _set_profile(PARAMS, resolve_profile(None))
        yield


@contextmanager
def locked(workspace: Path, what: str, patience_s: float = 0.0) -> Iterator[None]:
    """Hold a volume alone; the kernel lets go of it when this process ends, however it ends.

    Args:
        workspace: The volume.
        what: What for; the next one is told.
        patience_s: Seconds to wait for another holder.

    Raises:
        EnvironmentProblem: Another container holds it; says which, since when and what for.
    """
    with (workspace / LOCK).open("a+", encoding="utf-8") as lock:
        give_up = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() < give_up:
                    time.sleep(0.2)
                    continue
                lock.seek(0)
                raise EnvironmentProblem(
                    f"{workspace} is in use by {lock.read().strip() or 'another container'}; wait for it, or stop it: "
                    "what it has done is kept."
                ) from None
        lock.truncate(0)
        lock.write(f"container {socket.gethostname()} since {datetime.now(UTC):%Y-%m-%d %H:%M} UTC ({what})")
        lock.flush()
        yield


def _set_profile(params: Path, profile: str) -> None:
    """DVC reads the profile from params.yaml alone."""
    text = params.read_text(encoding="utf-8")
    changed = re.sub(r"^profile:.*$", f"profile: {profile}", text, flags=re.MULTILINE)
    if changed != text:
        write_whole(params, changed)


def _announce(command: Sequence[str]) -> None:
    """Which study, how much of it is left, how long that takes, where results go."""
    from harness.planning import overview

    words = " ".join(command).replace("--profile=", "--profile ").split()
    named = [after for word, after in pairwise(words) if word == "--profile"]
    try:
        name = resolve_profile(named[-1] if named else None)
        study = load_study(name)
        plan = overview(study, Workspace(name))
    except KdcapError:  # the command itself will say it
        return
    wants_gpu = study.optimisation.device != "cpu" and plan["left"]["trainings"]
    _say(announcement(plan, WORKSPACE, gpu_missing=bool(wants_gpu) and not _torch_has_gpu()))


def _torch_has_gpu() -> bool:
    """Whether torch can use one: a driver that is too old, or torch's CPU build, shows one and trains without."""
    ask = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    return subprocess.run([sys.executable, "-c", ask], check=False, capture_output=True).returncode == 0  # noqa: S603


def announcement(plan: Mapping[str, Any], workspace: Path, *, gpu_missing: bool) -> str:
    """What is said at a study's start.

    Args:
        plan: See `harness.planning.overview`.
        workspace: The volume.
        gpu_missing: Whether the study is meant for a GPU and none is at hand.
    """
    from harness.planning import duration

    profile, left = plan["profile"], plan["left"]
    work = (
        f"{left['trainings']} of {plan['training_count']} trainings left, about {duration(left['hours'])} with "
        f"{left['workers']} at once (by {left['basis']})"
        if left["trainings"]
        else f"all {plan['training_count']} trainings are done"
    )
    lines = [
        f"kdcap {__version__}, profile {profile}: {plan['title']}",
        f"{work}; runs are in {workspace}/runs/{profile}, results in {workspace}/results/{profile}",
    ]
    if gpu_missing and left["trainings"]:
        lines.append(
            "warning: torch finds no GPU here, and on a CPU this study takes months; `--gpus all` gives it one (with a "
            "driver new enough, and the image's CUDA build), `-e KDCAP_PROFILE=quick` takes the study in miniature."
        )
    return "\n".join(lines)


def supervise(command: Sequence[str]) -> int:
    """Run a command in a process group of its own, pass signals on, and wait for all of the group.

    DVC ends at once on SIGTERM, its stages a moment later: were the container over with DVC, they would be killed.

    Args:
        command: Program and arguments.

    Returns:
        Its exit code; 128 and the signal's number where one ended it.
    """
    early: list[int] = []
    process: subprocess.Popen[bytes] | None = None

    def forward(signum: int, _frame: object) -> None:
        if process is None:
            early.append(signum)
        else:
            _signal_group(process.pid, signum)

    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, forward)
    process = subprocess.Popen(command, cwd=WORKSPACE, start_new_session=True)  # noqa: S603 - the user's own command
    for number in early:
        _signal_group(process.pid, number)
    code = process.wait()
    give_up = time.monotonic() + _LAST_WORDS_S
    while _signal_group(process.pid, 0) and time.monotonic() < give_up:
        time.sleep(0.05)
    return code if code >= 0 else 128 - code


def _signal_group(group: int, signum: int) -> bool:
    """Send a signal to a process group, 0 for none; whether there is any process left in it."""
    try:
        os.killpg(group, signum)
    except ProcessLookupError:
        return False
    return True


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)  # noqa: T201 - for people


if __name__ == "__main__":
    main()
