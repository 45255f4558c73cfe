"""The GitHub workflows cannot go stale: actions pinned, rights read-only, commands and artifacts that exist."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from typer.main import get_command

from harness.cli import app
from harness.study.load import resolve_profile
from harness.verify.reference import find_reference

ROOT = Path(__file__).parents[1]
REPRODUCE = (ROOT / ".github/workflows/reproduce.yml").read_text(encoding="utf-8")
CI = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
IMAGE = (ROOT / ".github/workflows/image.yml").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
ACTION = (ROOT / "action.yml").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
OURS = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / ".github/workflows").iterdir())}
REDIRECTED = r" >([\w./-]+)"  # where a command's output goes
LONGEST_USER_WORKFLOW = 15  # lines: what a reader will copy without thinking twice


def values(node: Any, key: str) -> Iterator[Any]:  # noqa: ANN401 - parsed YAML is of any type
    """Every value of a key, at any depth of parsed YAML."""
    if isinstance(node, dict):
        if key in node:
            yield node[key]
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from values(child, key)


def steps(text: str) -> list[dict[str, Any]]:
    """The steps of all jobs of a workflow, or of an action."""
    return [step for group in values(yaml.safe_load(text), "steps") for step in group]


def scripts(text: str) -> list[str]:
    """The shell scripts of a workflow or action."""
    return [step["run"] for step in steps(text) if "run" in step]


def commands(text: str) -> list[list[str]]:
    """The simple commands in the scripts of a workflow or action, each as its words."""
    found = []
    for line in re.sub(REDIRECTED, "", "\n".join(scripts(text)).replace("\\\n", " ")).splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        for joined, words in itertools.groupby(lexer, lambda word: set(word) <= set("();<>|&")):
            found += [] if joined else [list(words)]
    return found


def loose_pins(text: str) -> list[str]:
    """Actions that are not pinned by a full commit digest with the version beside it; those in this tree need none."""
    foreign = [step["uses"] for step in steps(text) if not step.get("uses", "./").startswith("./")]
    return [
        action
        for action in foreign
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)+@[0-9a-f]{40}", action)
        or not re.search(rf"{re.escape(action)} # v\d+\.\d+\.\d+\b", text)
    ]


def loose_rights(text: str) -> list[str]:
    """Rights beyond reading, jobs without a time limit, and runners that change under the same name."""
    workflow = yaml.safe_load(text)
    found = [f"permissions: {given}" for given in values(workflow, "permissions") if given != {"contents": "read"}]
    if "permissions" not in workflow:
        found.append("no permissions: the repository's default may be to write")
    for name, job in workflow["jobs"].items():
        if not 0 < job.get("timeout-minutes", 0) <= 60:
            found.append(f"{name}: no timeout of at most an hour")
        if not re.fullmatch(r"ubuntu-\d\d\.\d\d", job["runs-on"]):
            found.append(f"{name}: runs on {job['runs-on']}")
    return found


def loose_runs(text: str) -> list[str]:
    """Outdated runs of a pull request that go on, and scripts that go on after an error."""
    workflow = yaml.safe_load(text)
    concurrency = workflow.get("concurrency", {})
    faults = {
        "no concurrency group by branch": "github.ref" not in concurrency.get("group", ""),
        "outdated runs end elsewhere than in pull requests, or not there": (
            concurrency.get("cancel-in-progress") != "${{ github.event_name == 'pull_request' }}"
        ),
        "scripts go on after errors": " -euo pipefail " not in str(workflow.get("defaults")),
    }
    return [fault for fault, found in faults.items() if found]


def pasted_expressions(text: str) -> list[str]:
    """Scripts that GitHub would paste a value into: a branch's name could then be a command."""
    return [script for script in scripts(text) if "${{" in script]


def unknown_options(verb: str, words: list[str]) -> list[str]:
    """The verb, if `harness` has none of the name; else the options among the words that the verb does not have."""
    verbs = get_command(app).commands  # type: ignore[attr-defined] # a group, since there are several verbs
    if verb not in verbs:
        return [verb]
    known = {option for parameter in verbs[verb].params for option in parameter.opts}
    return sorted({word.partition("=")[0] for word in words if word.startswith("--")} - known)


def unknown_to_docker(words: list[str]) -> list[str]:
    """Arguments of a build that the Dockerfile does not declare, and files read from a container that nothing makes."""
    arguments = re.findall(r"--build-arg (\w+)", " ".join(words))
    found = [name for name in arguments if not re.search(rf"^ARG {name}\b", DOCKERFILE, re.MULTILINE)]
    command = words[words.index("kdcap") + 1 :] if words[0] == "run" else []
    files = command[1:] if command[:1] == ["cat"] else []
    return found + [file for file in files if file not in DOCKERFILE and file not in pipeline_files()]


def unknown_commands(text: str) -> list[str]:
    """Verbs, options, targets and scripts that the workflow calls and the project does not have."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    found = []
    for name, *words in commands(text):
        if Path(name).name == "harness":
            found += unknown_options(words[0], words[1:])
        elif name == "make":
            found += sorted(set(words) - targets)
        elif name == "docker":
            found += unknown_to_docker(words)
        elif "/" in name and not os.access(ROOT / name.removeprefix("$GITHUB_ACTION_PATH/"), os.X_OK):
            found.append(name)
    return found


def pipeline_files() -> set[str]:
    """The outputs of the pipeline, for the profile of params.yaml."""
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    outputs = str([stage.get(key) for stage in pipeline.values() for key in ("outs", "metrics")])
    return set(re.findall(r"[\w./-]+", outputs.replace("${profile}", resolve_profile(None))))


def unmade_artifacts(text: str) -> list[str]:
    """Uploaded files that are no output of the pipeline, of an option of `harness`, or of a command's redirection."""
    pairs = [pair for words in commands(text) for pair in itertools.pairwise(words)]
    made = pipeline_files() | {file for option, file in pairs if option in ("--json", "--junit")}
    made |= set(re.findall(REDIRECTED, "\n".join(scripts(text))))
    uploads = [step["with"]["path"] for step in steps(text) if "/upload-artifact@" in step.get("uses", "")]
    return [path for upload in uploads for path in upload.split() if path not in made]


def wrong_inputs(text: str) -> list[str]:
    """Inputs given to kdcap's own action that it does not have, and its inputs that are not given."""
    inputs = set(yaml.safe_load(ACTION)["inputs"])
    ours = [step for step in steps(text) if re.match(r"\./$|OWNER/kdcap@", step.get("uses", ""))]
    return [name for step in ours for name in sorted(inputs ^ set(step.get("with", {})))]


def too_long(text: str) -> list[str]:
    """The lines past those that a user's workflow may have."""
    return text.splitlines()[LONGEST_USER_WORKFLOW:]


def user_workflow() -> str:
    """The workflow that the README offers for runs of one's own."""
    blocks: list[str] = re.findall(r"^```yaml\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    found = [block for block in blocks if "name: verify" in block]
    assert len(found) == 1, "the README shows one workflow that has `name: verify`"
    return found[0]


EVERYWHERE = (loose_pins, pasted_expressions, unknown_commands)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("check", [*EVERYWHERE, loose_rights, loose_runs, unmade_artifacts, wrong_inputs])
def test_workflows_are_sound(check: Callable[[str], list[str]], name: str) -> None:
    """Each workflow of the project passes each check."""
    assert check(OURS[name]) == []


@pytest.mark.parametrize("check", EVERYWHERE)
def test_the_action_is_sound(check: Callable[[str], list[str]]) -> None:
    """The action for other repositories passes each check that an action can."""
    assert check(ACTION) == []


@pytest.mark.parametrize("check", [*EVERYWHERE, loose_rights, wrong_inputs, too_long])
def test_the_readme_workflow_is_sound(check: Callable[[str], list[str]]) -> None:
    """A user's workflow, as the README shows it, is short, pinned, read-only, and calls the action as it is."""
    assert check(user_workflow()) == []


@pytest.mark.parametrize(
    ("check", "text", "old", "new"),
    [
        (loose_pins, CI, "@de0fac2e4500dabe0009e67214ff5f5447ce83dd # v6.0.2", "@v6.0.2"),
        (loose_pins, CI, " # v6.0.2", ""),
        (loose_pins, CI, "83dd # v6.0.2", " # v6.0.2"),
        (loose_pins, ACTION, " # v6.2.0", " # v6"),
        (loose_rights, CI, "contents: read", "contents: write"),
        (loose_rights, CI, "permissions:\n  contents: read\n", ""),
        (loose_rights, CI, "    timeout-minutes: 5\n", ""),
        (loose_rights, CI, "    timeout-minutes: 5\n", "    timeout-minutes: 5\n    permissions: write-all\n"),
        (loose_rights, REPRODUCE, "ubuntu-24.04", "ubuntu-latest"),
        (loose_runs, REPRODUCE, "github.event_name == 'pull_request'", "true"),
        (loose_runs, REPRODUCE, "-${{ github.ref }}", ""),
        (loose_runs, REPRODUCE, "-euo pipefail ", ""),
        (pasted_expressions, CI, "run: .ci/run", "run: .ci/run ${{ github.head_ref }}"),
        (unknown_commands, CI, "run: .ci/run", "run: .ci/walk"),
        (unknown_commands, CI, "make workflows", "make workflow"),
        (unknown_commands, REPRODUCE, "harness verify", "harness verfy"),
        (unknown_commands, REPRODUCE, "--profile", "--profil"),
        (unknown_commands, ACTION, "install.sh", "instal.sh"),
        (unknown_commands, ACTION, "--reference", "--referenz"),
        (unmade_artifacts, REPRODUCE, "results/quick/report.md", "results/quick/raport.md"),
        (unmade_artifacts, REPRODUCE, "--junit results/quick/verdict.xml", ""),
        (unknown_commands, IMAGE, "make audit", "make audits"),
        (unknown_commands, IMAGE, "--build-arg TORCH=", "--build-arg TORCHES="),
        (unknown_commands, IMAGE, "kdcap cat results/quick/report.html", "kdcap cat results/quick/raport.html"),
        (unknown_commands, IMAGE, "cat /opt/kdcap/share/sbom.cdx.json", "cat /opt/kdcap/sbom.cdx.json"),
        (unmade_artifacts, IMAGE, ">sbom.cdx.json", ">sbom.json"),
        (wrong_inputs, CI, "          reference: yasar2026-v2\n", ""),
        (wrong_inputs, CI, "          runs:", "          run:"),
        (too_long, CI, "name: ci", "name: verify"),
    ],
)
def test_the_checks_can_fail(check: Callable[[str], list[str]], text: str, old: str, new: str) -> None:
    """Each check finds its fault in a copy that has it."""
    assert old in text
    assert check(text.replace(old, new)) != []


def test_the_study_is_reproduced_weekly_and_its_files_outlive_a_failed_gate() -> None:
    """`reproduce` runs on every push, pull request, call and week; its last step does not wait for the gate's yes."""
    workflow = yaml.safe_load(REPRODUCE)
    # YAML 1.1 reads the word `on` as true
    assert set(workflow[True]) == {"push", "pull_request", "workflow_dispatch", "schedule"}
    *_, train, gate, keep = workflow["jobs"]["quick"]["steps"]
    assert "make repro" in train["run"]
    assert "harness verify" in gate["run"]
    assert "--no-gate" not in gate["run"]
    assert keep["if"] == "${{ !cancelled() }}"
    assert "continue-on-error" not in REPRODUCE


def test_the_image_is_tested_weekly_and_the_supply_chain_beside_it() -> None:
    """`image` runs on every push, pull request, call and week; no check hides another's answer, and none may fail."""
    workflow = yaml.safe_load(IMAGE)
    assert set(workflow[True]) == {"push", "pull_request", "workflow_dispatch", "schedule"}
    tests, study, supply = ([step.get("run") for step in workflow["jobs"][name]["steps"]] for name in workflow["jobs"])
    assert tests[-1] == "make image-test"
    assert any("dvc repro" in (script or "") for script in study)
    assert supply[-2:] == ["make hadolint", "make audit"]
    late = [step for name in ("study", "supply") for step in workflow["jobs"][name]["steps"] if "if" in step]
    assert [step["if"] for step in late] == ["${{ !cancelled() }}"] * 3
    assert "continue-on-error" not in IMAGE
    assert "cache-from" not in IMAGE


@pytest.mark.parametrize(("shift_pp", "code", "verdict"), [(0.0, 0, "PASS"), (0.3, 1, "FAIL")])
def test_the_action_is_a_gate(tmp_path: Path, shift_pp: float, code: int, verdict: str) -> None:
    """The action's script ends with the verdict's exit code, says why, and takes no input for a command."""
    runs = pd.read_csv(find_reference("yasar2026-v2").resolve() / "runs.csv")
    runs = runs[runs["stage"] == "final"]
    runs.assign(test_acc_best=runs["test_acc_best"] - shift_pp / 100).to_csv(tmp_path / "$(touch ran).csv", index=False)
    (tmp_path / "action/.venv/bin").mkdir(parents=True)
    (tmp_path / "action/.venv/bin/harness").symlink_to(Path(sys.executable).parent / "harness")
    given = {
        "GITHUB_ACTION_PATH": str(tmp_path / "action"),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        "RUNS": "$(touch ran).csv",
        "REFERENCE": "yasar2026-v2",
    }
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", scripts(ACTION)[-1]],
        cwd=tmp_path,
        env=os.environ | given,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert not (tmp_path / "ran").exists()
    assert f'"{verdict}"' in (tmp_path / "verdict.json").read_text(encoding="utf-8")
    assert verdict in (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert "<testsuite" in (tmp_path / "verdict.xml").read_text(encoding="utf-8")
