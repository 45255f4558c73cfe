"""The command line: quick help that teaches, and one exit code for each kind of ending."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import typer
from tiny_study import ROOT, InProcess, Tiny
from typer.testing import CliRunner

from analysis.errors import TableError
from harness import cli
from harness.cli import app
from harness.errors import KdcapError, ReferenceProblem, RunsFailed

HARNESS = Path(sys.executable).parent / "harness"
NEEDS_STUDY = {"plan", "train", "collect", "analyze", "report", "verify", "doctor"}
VERBS = NEEDS_STUDY | {"reanalyze", "power"}
HEAVY = ("torch", "torchvision", "pandas", "numpy", "scipy", "statsmodels", "pingouin", "matplotlib", "rich", "jinja2",
         "sklearn", "yaml")  # fmt: skip


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The installed script, as a user calls it."""
    return subprocess.run([HARNESS, *words], cwd=cwd, capture_output=True, text=True, check=False)


def commands() -> dict[str, list[str]]:
    """Every command of the command line, with the words that call it."""
    found = {
        str(command.name or command.callback.__name__): 1 for command in app.registered_commands if command.callback
    }
    words = {name: [name] for name in found}
    for group in app.registered_groups:
        for command in group.typer_instance.registered_commands if group.typer_instance else []:
            assert command.callback is not None
            name = str(command.name or command.callback.__name__)
            words[f"{group.name} {name}"] = [str(group.name), name]
    return words


# --- help -------------------------------------------------------------------------------------------------------------


def test_the_verbs_are_all_there() -> None:
    """The fixed names, and help that lists each of them."""
    assert set(commands()) >= VERBS | {"reference freeze"}
    overview = CliRunner().invoke(app, ["--help"]).output
    for verb in VERBS | {"reference"}:
        assert f"\n  {verb} " in overview
    assert "Exit codes: 0 done or pass, 1 failed, 2 bad" in overview


@pytest.mark.parametrize("command", commands())
def test_every_command_has_help_with_an_example(command: str) -> None:
    """An example that can be copied, a line of its own, beginning with the command itself."""
    words = commands()[command]
    result = CliRunner().invoke(app, [*words, "--help"])
    assert result.exit_code == 0
    _, _, example = result.output.partition("Example:\n")
    assert example.strip().startswith(f"harness {command}")
    assert "noqa" not in result.output
    for line in result.output.partition("Options:")[2].splitlines():
        assert not line.rstrip().endswith("--"), "an option without a word of help"


WHAT_IS_IMPORTED = """
import sys
from harness.cli import main
for words in {words!r}:
    sys.argv = ["harness", *words, "--help"]
    try:
        main()
    except SystemExit as end:
        assert end.code in (0, None), end.code
print("imported:", *sorted(set({heavy!r}) & set(sys.modules)))
"""


def test_help_imports_nothing_heavy() -> None:
    """Neither torch nor pandas nor a plotting library, for any help: that is what keeps it under half a second."""
    script = WHAT_IS_IMPORTED.format(words=[[], *commands().values()], heavy=HEAVY)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    answer = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert answer.stdout.splitlines()[-1] == "imported:"


def test_a_plan_needs_no_torch(untrained: Tiny) -> None:
    """The verbs that do not train work without the extra `train`; this one shows what there would be to train."""
    script = "import sys; sys.modules.update(torch=None, sklearn=None); from harness.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    answer = subprocess.run(
        [sys.executable, "-c", script, "plan"],
        cwd=untrained.root, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "15 entries, 11 distinct trainings" in answer.stdout


def test_the_version_is_the_projects(tmp_path: Path) -> None:
    """One number, in pyproject.toml and on the command line."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    answer = run("--version", cwd=tmp_path)
    assert (answer.returncode, answer.stdout) == (0, f"kdcap {version}\n")


# --- exit codes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("prove",), ("plan", "--colour"), ("plan", "extra"), ("train", "--phase", "finals"),
                                   ("train", "--workers", "0"), ("train", "--seed", "one"), ()])  # fmt: skip
def test_a_mistyped_command_exits_with_2(untrained: Tiny, words: tuple[str, ...]) -> None:
    """Unknown verbs, options and values are bad input; nothing is written, and no traceback is shown."""
    answer = run(*words, cwd=untrained.root)
    assert answer.returncode == 2
    assert "Usage: harness" in answer.stdout + answer.stderr
    assert "Traceback" not in answer.stderr
    assert not (untrained.root / "runs").exists()


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    """In a folder without params.yaml: one sentence on standard error, exit code 2, nothing written."""
    answer = run("plan", cwd=tmp_path)
    assert answer.returncode == 2
    assert answer.stdout == ""
    assert answer.stderr == "error: params.yaml: no such file; run this in kdcap's folder, where params.yaml is.\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", sorted(NEEDS_STUDY))
def test_every_verb_needs_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    """Those that work on a study read params.yaml, and say where to stand when it is not there."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, [verb])
    assert isinstance(result.exception, KdcapError)
    assert str(result.exception).startswith("params.yaml: no such file; run this in kdcap's folder")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[BaseException], int]]:
    """Call `harness doctor` so that it ends with this exception; gives the process's exit code."""
    before = signal.getsignal(signal.SIGTERM)

    def end(error: BaseException) -> int:
        def raise_it(_profile: str | None) -> str:
            raise error

        monkeypatch.setattr("harness.study.load.resolve_profile", raise_it)
        monkeypatch.setattr(sys, "argv", ["harness", "doctor"])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return int(end.value.code or 0)

    yield end
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    "error", [KdcapError("Expected this."), ReferenceProblem("Expected this."), TableError("Expected this.")]
)
def test_every_known_error_is_a_sentence(
    ending: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    """Exit code 2, the sentence, and no traceback."""
    assert ending(error) == 2
    assert capsys.readouterr().err == "error: Expected this.\n"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_a_sentence_with_the_room_there_is(
    ending: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str], number: int
) -> None:
    """Whatever was being written: where it is known, how much is free, and that nothing is lost."""
    assert ending(OSError(number, os.strerror(number), "results/runs.csv")) == 2
    said = capsys.readouterr().err
    assert re.fullmatch(r"error: results/runs.csv: expected room to write, .* \([\d,]+ MB free here\); .*\n", said)
    assert ending(OSError(number, os.strerror(number))) == 2
    assert capsys.readouterr().err.startswith(f"error: {Path.cwd()}: expected room to write")


def test_failed_runs_exit_with_1(ending: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str]) -> None:
    """The list of them follows, a line each."""
    assert ending(RunsFailed("1 of 2 runs of final:\n  x: why")) == 1
    assert capsys.readouterr().err == "failed: 1 of 2 runs of final:\n  x: why\n"


def test_our_own_bug_exits_with_70(ending: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str]) -> None:
    """Never 1, which is a verdict: the traceback to report, and a sentence that it is no fault of the user's."""
    assert ending(ZeroDivisionError("oh")) == 70
    said = capsys.readouterr().err
    assert said.startswith("Traceback (most recent call last):")
    assert "ZeroDivisionError: oh" in said
    assert said.splitlines()[-1] == "error: this is a bug in kdcap; please report it with the lines above."


@pytest.mark.parametrize("code", [0, 1, 2, 3])
def test_a_verdicts_code_passes_through(ending: Callable[[BaseException], int], code: int) -> None:
    """What a verb chooses as its exit code is the process's."""
    assert ending(typer.Exit(code)) == code


def test_sigterm_ends_with_its_own_code(
    monkeypatch: pytest.MonkeyPatch, ending: Callable[[BaseException], int]
) -> None:
    """128 + 15, as the shell has it, after everything has been put away in order."""
    assert ending(typer.Exit(0)) == 0  # for its restoring of the signal's handler
    tidied = []

    def terminate(_profile: str | None) -> str:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        finally:
            tidied.append(True)
        return ""

    monkeypatch.setattr("harness.study.load.resolve_profile", terminate)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 143
    assert tidied == [True]


def test_a_reader_that_leaves_early_is_no_failure(untrained: Tiny) -> None:
    """`harness plan | head -1`: no message, and the end of any Unix tool, no failed verdict."""
    with subprocess.Popen(
        [HARNESS, "plan"], cwd=untrained.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == -signal.SIGPIPE


# --- verbs ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch, first_training: tuple[Tiny, InProcess]) -> list[int | None]:
    """`harness train` copies runs that are trained already; the list is of the workers that it was told to use."""
    workers: list[int | None] = []

    def make(count: int | None, methods: Sequence[str], runs_per_gpu: int | None) -> InProcess:
        assert list(methods) == ["logit", "feature"], "the study's, for the server to import"
        assert runs_per_gpu is None
        workers.append(count)
        return InProcess(finished=first_training[0].root)

    monkeypatch.setattr("harness.execute.local.LocalExecutor", make)
    return workers


def test_a_study_from_nothing_to_its_table(untrained: Tiny, in_process: list[int | None]) -> None:
    """train, plan and collect, as the README has them, with params.yaml's profile."""
    runner = CliRunner()
    result = runner.invoke(app, ["train", "--workers", "2"])
    assert result.exit_code == 0, result.output
    assert in_process == [2]
    assert [line for line in result.output.splitlines() if "to train" in line] == [
        "teachers: 1 to train",
        "select: 3 to train",
        "final: 4 to train, 2 shared with earlier phases",
        "stem_ablation: 2 to train, 2 shared with earlier phases",
        "bug_ablation: 1 to train",
    ]
    assert "left: nothing" in runner.invoke(app, ["plan"]).output
    result = runner.invoke(app, ["collect"])
    assert result.output == "results/tiny/runs.csv: 15 entries, 11 distinct trainings\n"
    assert (untrained.root / "results/tiny/runs.csv").exists()


@pytest.mark.usefixtures("untrained")
def test_train_takes_phases_a_cell_and_a_seed(in_process: list[int | None]) -> None:
    """In the study's order, however they are given."""
    words = ["train", "--phase", "select", "--phase", "teachers", "--cell", "resnet34-none", "--seed", "0"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    said = [line for line in result.output.splitlines() if "to train" in line]
    assert said == ["teachers: 1 to train"]  # and no word of the phase that has no such cell
    assert in_process == [None]  # as many as the machine holds


@pytest.mark.usefixtures("untrained")
def test_the_executor_is_an_option_and_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipeline's stages take it from the environment; a name that is none is refused with those that are."""
    made: list[tuple[object, ...]] = []

    def make(*settings: object, **options: object) -> InProcess:
        made.append((*settings, options))
        return InProcess()

    monkeypatch.setattr("harness.execute.executors.make_executor", make)
    words = ["train", "--phase", "stem_ablation", "--cell", "resnet18-none-imagenet"]
    for environment, more in (
        ({}, ["--workers", "3", "--runs-per-gpu", "2"]),
        ({"KDCAP_EXECUTOR": "ray", "KDCAP_RAY_ADDRESS": "there:6379"}, []),
        ({"KDCAP_EXECUTOR": "ray"}, ["--executor", "slurm"]),
    ):
        result = CliRunner().invoke(app, [*words, *more], env=environment)
        assert result.exit_code == 0, result.output
    nothing = {"workers": None, "runs_per_gpu": None, "address": None}
    assert made == [
        ("local", ("logit", "feature"), nothing | {"workers": 3, "runs_per_gpu": 2}),
        ("ray", ("logit", "feature"), nothing | {"address": "there:6379"}),
        ("slurm", ("logit", "feature"), nothing),
    ]
    result = CliRunner().invoke(app, words, env={"KDCAP_EXECUTOR": "elsewhere"})
    assert result.exit_code == 2
    assert "'local', 'ray', 'slurm'" in result.output
