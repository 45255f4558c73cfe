"""A study's description is read strictly: every mistake is one sentence with file, key, expected and found."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from tiny_study import ROOT, tree
from typer.testing import CliRunner

from harness.cli import app
from harness.errors import StudyError
from harness.study.load import load_study, resolve_profile

QUICK = (ROOT / "profiles" / "quick.yaml").read_text(encoding="utf-8")
# Keys that a profile may leave out; all others must stand there.
OPTIONAL = {
    ("dataset", "train_images"),
    ("dataset", "label_noise"),
    ("selection", "grid", "logit"),
    ("selection", "grid", "feature"),
}


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the quick profile as it is shipped."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "quick.yaml").write_text(QUICK, encoding="utf-8")
    (tmp_path / "params.yaml").write_text("profile: quick\n")
    # a mistake that is not refused fails the test at once, instead of training a whole study
    monkeypatch.setattr("harness.execute.local.LocalExecutor", lambda workers: pytest.fail(f"trains with {workers}"))
    return tmp_path


def refused(workspace: Path, *options: str) -> str:
    """The sentence with which `harness train` refuses to start; nothing may have been written."""
    before = tree(workspace)
    result = CliRunner().invoke(app, ["train", *options])
    assert isinstance(result.exception, StudyError), result.output
    assert tree(workspace) == before, "something was written"
    sentence = str(result.exception)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


def refused_content(workspace: Path, content: Any) -> str:  # noqa: ANN401 - whatever YAML holds
    """The same for a profile with this content."""
    (workspace / "profiles/quick.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return refused(workspace)


def says(sentence: str, words: list[str]) -> None:
    """The sentence begins with the profile's file and holds these words."""
    assert sentence.startswith("profiles/quick.yaml")
    for word in words:
        assert word in sentence, f"expected {word!r} in: {sentence}"


class _Gone:
    """Instead of a value: the key is taken away."""


# name: (key, its value instead, words of the sentence: key, expected, found)
MISTAKES: dict[str, tuple[str, Any, list[str]]] = {
    "unknown key": ("colour", "blue", ["`colour`", "not a key", "remove it"]),
    "unknown key in a block": ("dataset.crop", 1, ["`dataset.crop`", "not a key"]),
    "unknown key in a list": ("pairs.0.alpha", 0.5, ["`pairs.0.alpha`", "not a key"]),
    "missing key": ("dataset.horizontal_flip", _Gone, ["`dataset.horizontal_flip`", "missing", "add it"]),
    "missing key in a list": ("pairs.1.student", _Gone, ["`pairs.1.student`", "missing", "add it"]),
    "text for a number": ("optimisation.lr", "fast", ["`optimisation.lr`", "number", "found 'fast'"]),
    "a quoted number": ("model.width", "8", ["`model.width`", "integer", "found '8'"]),
    "a fraction for a whole number": ("optimisation.batch_size", 32.5, ["`optimisation.batch_size`", "found 32.5"]),
    "yes or no for a number": ("optimisation.threads", True, ["`optimisation.threads`", "integer", "found True"]),
    "a number for yes or no": ("evidence", 0, ["`evidence`", "boolean", "found 0"]),
    "a number for text": ("reference", 3, ["`reference`", "string", "found 3"]),
    "one value for a list": ("seeds", 5, ["`seeds`", "found 5"]),
    "one value for a block": ("margins", 1.0, ["`margins`", "found 1.0"]),
    "nothing for a value": ("optimisation.lr", None, ["`optimisation.lr`", "number", "found None"]),
    "unknown architecture": (
        "baselines",
        ["resnet18", "resnet34", "resnet20"],
        ["`baselines.2`", "'resnet18'", "'resnet101'", "found 'resnet20'"],
    ),
    "unknown dataset": ("dataset.name", "mnist", ["`dataset.name`", "'cifar10'", "found 'mnist'"]),
    "alpha above 1": (
        "selection.grid.feature.alpha",
        [0.3, 1.2],
        ["`selection.grid.feature.alpha.1`", "equal to 1", "1.2"],
    ),
    "alpha below 0": (
        "selection.grid.logit.alpha",
        [-0.5],
        ["`selection.grid.logit.alpha.0`", "equal to 0", "found -0.5"],
    ),
    "negative temperature": (
        "selection.grid.logit.temperature",
        [-2.0, 4.0],
        ["`selection.grid.logit.temperature.0`", "greater than 0", "found -2.0"],
    ),
    "temperature 0": (
        "selection.grid.logit.temperature",
        [2.0, 0],
        ["`selection.grid.logit.temperature.1`", "greater than 0", "found 0"],
    ),
    "endless temperature": (
        "selection.grid.logit.temperature",
        [float("inf")],
        ["`selection.grid.logit.temperature.0`", "finite", "found inf"],
    ),
    "one value for a hyperparameter's list": (
        "selection.grid.logit.temperature",
        4.0,
        ["`selection.grid.logit.temperature`", "list of values", "found 4.0"],
    ),
    "no alpha": ("selection.grid.logit.alpha", _Gone, ["`selection.grid.logit.alpha`", "missing", "add it"]),
    "a method without its hyperparameter": (
        "selection.grid.logit.temperature",
        _Gone,
        ["selection.grid.logit: expected the hyperparameters alpha, temperature, found alpha;"],
    ),
    "a hyperparameter of another method": (
        "selection.grid.feature.temperature",
        [4.0],
        ["selection.grid.feature: expected the hyperparameters alpha, found alpha, temperature; add, remove or rename"],
    ),
    "a hyperparameter that would leave its folder": (
        "selection.grid.logit.up/beta",
        [1.0],
        ["selection.grid.logit", "`up/beta`", "name of lower-case letters"],
    ),
    "a number as a hyperparameter's name": (
        "selection.grid.logit.7",
        [1.0],
        ["`selection.grid.logit.7`", "name of lower-case letters"],
    ),
    "a method nobody has": (
        "selection.grid.magic",
        {"alpha": [0.5]},
        ["method magic", "one installed method", "found none", "attention, feature, logit", "`selection.grid`"],
    ),
    "a method in capitals": (
        "selection.grid.Logit",
        {"alpha": [0.5]},
        ["`selection.grid.Logit`", "name of lower-case letters"],
    ),
    "a method by number": ("selection.grid.7", {"alpha": [0.5]}, ["`selection.grid.7`", "name of lower-case letters"]),
    "a grid for the baseline": ("selection.grid.none", {"alpha": [0.5]}, ["selection.grid.none", "baseline", "remove"]),
    "a method outside the grid": ("selection.logit", {"alpha": [0.5]}, ["`selection.logit`", "not a key"]),
    "a list of methods": ("selection.grid", ["logit"], ["`selection.grid`", "block", "found ['logit']"]),
    "a method without a block": ("selection.grid.logit", None, ["`selection.grid.logit`", "block", "found None"]),
    "label noise in percent": ("dataset.label_noise", 20, ["`dataset.label_noise`", "equal to 1", "found 20"]),
    "learning rate 0": ("optimisation.lr", 0.0, ["`optimisation.lr`", "greater than 0", "found 0.0"]),
    "learning rate that is no number": ("optimisation.lr", float("nan"), ["`optimisation.lr`", "found nan"]),
    "margin 0": ("margins.gain_pp", 0.0, ["`margins.gain_pp`", "greater than 0", "found 0.0"]),
    "no epochs": ("epochs.student", 0, ["`epochs.student`", "equal to 1", "found 0"]),
    "negative seed": ("seeds", [0, -1], ["`seeds.1`", "equal to 0", "found -1"]),
    "seed twice": ("seeds", [0, 1, 2, 1], ["seeds", "may stand once", "1 stands more than once"]),
    "alpha twice": (
        "selection.grid.logit.alpha",
        [0.5, 0.5],
        ["selection.grid.logit.alpha", "once", "0.5 stands more"],
    ),
    "pair twice": (
        "pairs",
        [{"teacher": "resnet34", "student": "resnet18"}] * 2,
        ["pairs", "may stand once", "resnet34", "stands more than once"],
    ),
    "empty grid": ("selection.grid.logit.alpha", [], ["`selection.grid.logit.alpha`", "at least 1", "found []"]),
    "no method": ("selection.grid", {}, ["`selection.grid`", "at least 1", "found {}"]),
    "no seeds": ("seeds", [], ["`seeds`", "at least 1", "found []"]),
    "no pairs": ("pairs", [], ["`pairs`", "at least 1", "found []"]),
    "pair whose teacher is not trained": (
        "teachers.architectures",
        ["resnet34", "resnet50"],
        ["pairs.3.teacher", "teachers.architectures", "resnet34, resnet50", "found resnet101"],
    ),
    "student without its baseline": (
        "baselines",
        ["resnet18"],
        ["pairs.2.student", "baselines", "resnet18", "found resnet34"],
    ),
    "distilled seed that is not trained": (
        "teachers.distilled_seeds",
        [0, 3],
        ["teachers.distilled_seeds", "among the trained seeds [0]", "found [0, 3]"],
    ),
    "one distilled seed": ("teachers.distilled_seeds", 0, ["`teachers.distilled_seeds`", "list", "found 0"]),
    "no distilled seed": ("teachers.distilled_seeds", [], ["`teachers.distilled_seeds`", "at least 1", "found []"]),
    "the ImageNet stem of a WideResNet": (
        "stem_ablation.0.architecture",
        "wrn16_1",
        ["`stem_ablation.0.architecture`", "'resnet18'", "'resnet101'", "found 'wrn16_1'"],
    ),
    "a pair of two families": (
        "pairs",
        [{"teacher": "resnet50", "student": "resnet18"}, {"teacher": "resnet50", "student": "wrn16_4"}],
        ["pairs", "one family", "since feature compare", "found resnet50 and wrn16_4", "take out"],
    ),
    "a width that a network cannot have": (
        "model.width",
        10,
        ["model.width", "multiple of 4 for wrn16_1", "found 10"],
    ),
    "a network too narrow for oneDNN": (
        "model.width",
        7,
        ["`model.width`", "greater than or equal to 8", "found 7"],
    ),
    "a first stage too narrow for oneDNN": (
        "model.width",
        8,
        ["model.width", "8 channels or more", "first stage of wrn16_1", "found 2 at width 8", "raise", "32 or more"],
    ),
    "clipping bug of a pair that is none": (
        "bug_ablation",
        [{"teacher": "resnet101", "student": "resnet18", "seeds": [0]}],
        ["bug_ablation.0", "resnet101 -> resnet18", "pairs"],
    ),
    "no grid at all": ("selection", {"seed": 0}, ["`selection.grid`", "missing", "add it"]),
    "clipping bug without Feature-KD": ("selection.grid.feature", _Gone, ["bug_ablation.0", "selection.grid.feature"]),
    "digits without a test set": ("dataset.test_images", _Gone, ["dataset", "`test_images`", "digits"]),
    "a path for digits": ("dataset.path", "images", ["dataset", "`path`", "folder"]),
    "Nesterov without momentum": ("optimisation.momentum", 0.0, ["optimisation", "nesterov", "above 0", "found 0"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence_and_nothing_is_written(workspace: Path, mistake: str) -> None:
    """File, key, what was expected and what was found; `harness train` stops before it makes a single folder."""
    key, value, words = MISTAKES[mistake]
    *path, last = (int(part) if part.isdigit() else part for part in key.split("."))
    content = yaml.safe_load(QUICK)
    if last != "architecture":
        content["baselines"] += [network for network in ("wrn16_1", "wrn16_4") if network in str(words)]
    block = _at(content, tuple(path))
    if value is _Gone:
        del block[last]
    else:
        block[last] = value
    says(refused_content(workspace, content), words)


@pytest.mark.parametrize(
    ("architecture", "enough", "one_less"),
    [("wrn16_1", 32, 7), ("wrn40_1", 32, 7), ("wrn28_2", 16, 6), ("wrn40_4", 8, None), ("resnet18", 8, None)],
)
@pytest.mark.parametrize("place", ["baselines", "teachers"])
def test_a_first_stage_of_eight_channels_is_enough(
    workspace: Path, place: str, architecture: str, enough: int, one_less: int | None
) -> None:
    """The least width of each family, of teachers as of students; the next one below has too few channels.

    A WideResNet's first stage has 16 channels at width 64 times its widening factor, in steps of 4 of the width. Of
    ResNets and the widest ones the next width below is none that a study may have.
    """
    content = yaml.safe_load(QUICK)
    networks = content["baselines"] if place == "baselines" else content["teachers"]["architectures"]
    if architecture not in networks:
        networks.append(architecture)
    content["model"]["width"] = enough
    (workspace / "profiles/quick.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    assert load_study("quick").model.width == enough
    if one_less is not None:
        content["model"]["width"] = enough - 4
        sentence = refused_content(workspace, content)
        says(sentence, [architecture, f"found {one_less} at width {enough - 4}", f"{enough} or more in the profile"])


def test_a_misspelt_key_is_named_as_it_was_spelt(workspace: Path) -> None:
    """A reader looks for what stands in the file, not for what is missing there because of it."""
    content = yaml.safe_load(QUICK)
    content["optimisation"]["momentun"] = content["optimisation"].pop("momentum")
    says(refused_content(workspace, content), ["`optimisation.momentun`", "spelling", "missing: `momentum`"])


# What only text can get wrong: (pattern that stands once, what replaces it, words of the sentence)
TEXT_MISTAKES: dict[str, tuple[str, str, list[str]]] = {
    "a number that YAML reads as text": (
        r"weight_decay: \S+",
        "weight_decay: 5e-4",
        ["`optimisation.weight_decay`", "number", "found '5e-4'"],
    ),
    "a key twice": (r"^  width: .*", "  width: 8\n  width: 16", [", line ", "`width`", "given twice"]),
    "a block twice": (
        r"^seeds:",
        "model: {width: 8, zero_init_residual: true}\nseeds:",
        [", line ", "`model`", "twice"],
    ),
    "brackets that do not close": (r"^seeds: .*", "seeds: [0, 1", [", line ", "correct the file"]),
    "a tab for spaces": (r"^  width: .*", "\twidth: 8", [", line ", "'\\t'", "correct the file"]),
    "code in YAML": (r"^title: ", "title: !!python/name:os.system ", [", line ", "python/name", "correct the file"]),
}


@pytest.mark.parametrize("mistake", TEXT_MISTAKES)
def test_a_mistake_in_the_text_is_one_sentence_too(workspace: Path, mistake: str) -> None:
    """With the line, where YAML knows it."""
    pattern, replacement, words = TEXT_MISTAKES[mistake]
    text, edits = re.subn(pattern, lambda _: replacement, QUICK, flags=re.MULTILINE)
    assert edits == 1
    (workspace / "profiles/quick.yaml").write_text(text, encoding="utf-8")
    says(refused(workspace), words)


def test_the_line_named_is_the_editors(workspace: Path) -> None:
    """Counted from 1."""
    (workspace / "profiles/quick.yaml").write_text("a: 1\nb: 2\n\na: 3\n")
    assert refused(workspace) == "profiles/quick.yaml, line 4: key `a` is given twice; correct the file."


# What YAML itself, or Python's reading of it, trips over: (pattern that stands once, what replaces it)
UNREADABLE: dict[str, tuple[bytes, bytes]] = {
    "a byte that is not UTF-8": (rb"^title: .*", b'title: "\xe9"'),
    "a zero byte": (rb"^title: .*", b'title: "\x00"'),
    "a date that is none": (rb"^title: .*", b"title: 2026-13-45"),
    "a list as a key": (rb"^title:", b"? [a, b]\n: 1\ntitle:"),
    "an endless learning rate": (rb"^  lr: .*", b"  lr: .inf"),
    "an endless weight decay": (rb"^  weight_decay: .*", b"  weight_decay: .inf"),
}


@pytest.mark.parametrize("mistake", UNREADABLE)
def test_what_cannot_be_read_is_a_mistake_too(workspace: Path, mistake: str) -> None:
    """Also what trips the reader itself is the file's fault, said in a sentence: never a bug of ours."""
    pattern, replacement = UNREADABLE[mistake]
    content, edits = re.subn(pattern, lambda _: replacement, QUICK.encode(), flags=re.MULTILINE)
    assert edits == 1
    (workspace / "profiles/quick.yaml").write_bytes(content)
    says(refused(workspace), [])


@pytest.mark.parametrize(
    ("content", "found"),
    [("", "NoneType"), ("# only words\n", "NoneType"), ("- a\n- b\n", "list"), ("quick\n", "str"), ("3\n", "int")],
)
def test_a_file_must_hold_keys(workspace: Path, content: str, found: str) -> None:
    """An empty file, a list or a single word is no description."""
    (workspace / "profiles/quick.yaml").write_text(content)
    sentence = refused(workspace)
    assert sentence.startswith("profiles/quick.yaml: expected `key: value`")
    assert found in sentence


def _mappings(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:  # noqa: ANN401 - YAML
    """Paths of every mapping in a description."""
    if isinstance(content, dict):
        yield path
        for key, value in content.items():
            yield from _mappings(value, (*path, key))
    elif isinstance(content, list):
        for place, value in enumerate(content):
            yield from _mappings(value, (*path, place))


def _at(content: Any, path: tuple[Any, ...]) -> Any:  # noqa: ANN401 - YAML
    for key in path:
        content = content[key]
    return content


def _dotted(*path: object) -> str:
    return ".".join(map(str, path))


def test_logits_can_be_learned_across_families(workspace: Path) -> None:
    """They are as many whatever the networks are; only methods that compare stages need a pair of one family."""
    content = yaml.safe_load(QUICK)
    content["baselines"].append("wrn16_4")
    content["pairs"].append({"teacher": "resnet50", "student": "wrn16_4"})
    content["bug_ablation"] = []
    del content["selection"]["grid"]["feature"]
    (workspace / "profiles/quick.yaml").write_text(yaml.safe_dump(content))
    assert load_study("quick").pairs[-1].student == "wrn16_4"
    content["selection"]["grid"]["attention"] = {"alpha": [0.5], "beta": [1000.0]}
    says(refused_content(workspace, content), ["attention", "resnet50 and wrn16_4"])


def test_no_level_takes_an_unknown_key(workspace: Path) -> None:
    """Put into any block of the profile, at any depth, an unknown key is named with its full path.

    Methods and hyperparameters have names that others choose: there, what is put in is no grid and no list.
    """
    free = {("selection", "grid"): "expected a block", ("selection", "grid", "logit"): "expected a list"}
    free[("selection", "grid", "feature")] = "expected a list"
    original = yaml.safe_load(QUICK)
    paths = list(_mappings(original))
    assert len(paths) > 12
    for path in paths:
        content = copy.deepcopy(original)
        _at(content, path)["capacity"] = 1
        words = free.get(path, "is not a key")
        assert f"`{_dotted(*path, 'capacity')}` {words}" in refused_content(workspace, content)


def test_every_key_is_needed(workspace: Path) -> None:
    """Take away any key, at any depth, and its full path is named; the few optional keys may go."""
    original = yaml.safe_load(QUICK)
    keys = [(*path, key) for path in _mappings(original) for key in _at(original, path)]
    for *path, key in keys:
        content = copy.deepcopy(original)
        del _at(content, tuple(path))[key]
        if (*path, key) in OPTIONAL:
            content["bug_ablation"] = []  # it needs Feature-KD
            (workspace / "profiles/quick.yaml").write_text(yaml.safe_dump(content))
            load_study("quick")
        elif key in ("test_images", "temperature"):
            pass  # optional for other datasets and methods; stands in the table above
        else:
            assert f"`{_dotted(*path, key)}` is missing" in refused_content(workspace, content)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ("profile: fast\n", ["params.yaml, profile", "one of quick", "found fast"]),
        ("profil: quick\n", ["params.yaml", "`profile`", "missing"]),
        ("profile: quick\nseeds: 3\n", ["params.yaml", "`seeds`", "not a key"]),
        ("profile: 3\n", ["params.yaml", "`profile`", "string", "found 3"]),
        ("profile: quick\nprofile: paper\n", ["params.yaml, line 2", "`profile`", "twice"]),
        ("profile: [quick\n", ["params.yaml, line"]),
        ("", ["params.yaml", "NoneType"]),
    ],
)
def test_params_yaml_is_read_as_strictly(workspace: Path, params: str, words: list[str]) -> None:
    """It names a profile that is there, and nothing else."""
    (workspace / "params.yaml").write_text(params)
    sentence = refused(workspace)
    for word in words:
        assert word in sentence, f"expected {word!r} in: {sentence}"


def test_a_missing_params_yaml_says_where_to_stand(workspace: Path) -> None:
    """The usual reason is another working folder."""
    (workspace / "params.yaml").unlink()
    assert refused(workspace) == "params.yaml: no such file; run this in kdcap's folder, where params.yaml is."


@pytest.mark.parametrize("name", ["fast", "", "../profiles/quick", "quick.yaml"])
def test_an_unknown_profile_on_the_command_line(workspace: Path, name: str) -> None:
    """The option is named with the profiles that there are, and params.yaml is not to blame."""
    (workspace / "params.yaml").unlink()
    sentence = refused(workspace, "--profile", name)
    assert sentence == f"--profile: expected one of quick, found {name}."


def test_the_option_wins_over_the_environment_and_that_over_params_yaml(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without either, params.yaml's profile is taken."""
    (workspace / "profiles/other.yaml").write_text(QUICK)
    assert resolve_profile(None) == "quick"
    assert resolve_profile("other") == "other"
    monkeypatch.setenv("KDCAP_PROFILE", "other")
    assert resolve_profile(None) == "other"
    assert resolve_profile("quick") == "quick"
    monkeypatch.setenv("KDCAP_PROFILE", "ohter")
    with pytest.raises(StudyError, match=r"^KDCAP_PROFILE: expected one of other, quick, found ohter\.$"):
        resolve_profile(None)


@pytest.mark.parametrize("profile", sorted(path.stem for path in (ROOT / "profiles").glob("*.yaml")))
def test_every_shipped_profile_loads(profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is the study that its file describes."""
    monkeypatch.chdir(ROOT)
    content = yaml.safe_load((ROOT / "profiles" / f"{profile}.yaml").read_text(encoding="utf-8"))
    study = load_study(profile)
    assert study.title == content["title"]
    assert list(study.seeds) == content["seeds"]
    assert [pair.model_dump() for pair in study.pairs] == content["pairs"]
    assert study.margins.gain_pp == content["margins"]["gain_pp"]


def test_the_shipped_params_name_a_shipped_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    """`harness plan` works on a fresh clone, without options."""
    monkeypatch.chdir(ROOT)
    load_study(resolve_profile(None))


@pytest.mark.parametrize("profile", ["beyond", "beyond-width", "beyond-cifar100"])
def test_a_study_beyond_the_paper_counts_no_run_that_chose(profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search's seed is none of ten; three teachers are crossed with them; the recipe is the paper's in bf16."""
    monkeypatch.chdir(ROOT)
    study, paper = load_study(profile), load_study("paper")
    assert study.evidence
    assert study.selection.seed not in study.seeds
    assert len(study.seeds) == 10
    assert len(study.teachers.distilled_seeds) == 3
    assert study.optimisation == paper.optimisation.model_copy(update={"precision": "bf16"})
    for block in ("model", "epochs", "margins"):
        assert getattr(study, block) == getattr(paper, block)
    for method in paper.methods:
        assert study.selection.grid[method] == paper.selection.grid[method]
    assert "attention" in study.methods


def test_beyond_goes_further_than_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    """The paper's pairs, the largest student, two networks that learn from their own kind; the same on CIFAR-100."""
    monkeypatch.chdir(ROOT)
    study = load_study("beyond")
    pairs = [(pair.teacher, pair.student) for pair in study.pairs]
    assert pairs[:4] == [(pair.teacher, pair.student) for pair in load_study("paper").pairs]
    assert pairs[4:] == [("resnet101", "resnet50"), ("resnet50", "resnet50"), ("resnet34", "resnet34")]
    other = load_study("beyond-cifar100")
    same = {"dataset": other.dataset.model_copy(update={"name": "cifar10"}), "title": study.title}
    assert other.dataset.name == "cifar100"
    assert other.model_copy(update=same) == study


def test_the_width_study_changes_one_thing_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """WideResNets of one depth or of one width, all taught by one network."""
    monkeypatch.chdir(ROOT)
    pairs = load_study("beyond-width").pairs
    assert {pair.teacher for pair in pairs} == {"wrn40_4"}
    depth_and_width = [pair.student.removeprefix("wrn").split("_") for pair in pairs]
    assert sorted(width for depth, width in depth_and_width if depth == "16") == ["1", "2", "4"]
    assert sorted(depth for depth, width in depth_and_width if width == "2") == ["16", "28", "40"]


def test_the_paper_profile_is_the_published_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting of the paper's section 4, number by number."""
    monkeypatch.chdir(ROOT)
    study = load_study("paper")
    assert study.evidence
    assert study.dataset.model_dump(exclude_defaults=True) == {
        "name": "cifar10",
        "validation_images": 5000,
        "split_seed": 1234,
        "crop_padding": 4,
        "horizontal_flip": True,
    }
    assert study.model.model_dump() == {"width": 64, "zero_init_residual": False}
    assert study.optimisation.model_dump(exclude={"threads", "device"}) == {
        "precision": "tf32",
        "teacher_logits": "table",
        "batch_size": 128,
        "lr": 0.1,
        "lr_min": 1e-4,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 5e-4,
        "clip_norm": 1.0,
    }
    assert (study.epochs.teacher, study.epochs.student) == (200, 100)
    assert study.margins.gain_pp == 0.2


def test_nothing_in_a_study_can_be_assigned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frozen at every level, lists included: what was checked once stays so."""
    monkeypatch.chdir(ROOT)
    study = load_study("quick")
    with pytest.raises(ValidationError, match="frozen"):
        study.title = "another"  # type: ignore[misc]
    for block, key in ((study.dataset, "split_seed"), (study.epochs, "teacher"), (study.pairs[0], "student")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(block, key, 3)
    grid = study.selection.grid["logit"]
    for name in ("alpha", "temperature", "another"):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(grid, name, (0.1,))
    assert isinstance(study.seeds, tuple)
    assert isinstance(grid.candidates()[0], tuple)
    hash(grid)  # a thing that holds a list anywhere has no hash
