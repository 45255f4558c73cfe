"""Reads params.yaml and profiles/*.yaml; every mistake becomes one sentence with file and key."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError

from harness.errors import StudyError
from harness.study.methods import HYPERPARAMETERS, STAGE_BY_STAGE, find
from harness.study.plan import any_winner, plan
from harness.study.spec import NARROWEST, Architecture, Count, Frozen
from harness.study.study import Study
from harness.training.architectures import FULL_WIDTH, channels, layout

T = TypeVar("T", bound=BaseModel)

PARAMS = Path("params.yaml")
PROFILES = Path("profiles")
PROFILE_VARIABLE = "KDCAP_PROFILE"  # of the environment: a container's way to choose


class Slurm(Frozen):
    """What the Slurm executor asks the site for.

    Attributes:
        partition: Partition; None for the site's default.
        minutes: Time limit of a job; None for the partition's. A run that takes longer goes on in another job.
        gres: What a run asks for that may use a GPU; one uses no more than one.
        runs_at_once: Most runs in the queue at once, waiting or running. Slurm's default limit of an array is 1000.
        options: Further options of sbatch, e.g. `--account=ml`.
    """

    partition: str | None = None
    minutes: Count | None = None
    gres: str = "gpu:1"
    runs_at_once: Annotated[int, Field(ge=1, le=1000)] = 100
    options: Annotated[tuple[str, ...], Field(strict=False)] = ()


class Params(Frozen):
    """params.yaml: which profile `dvc repro` and every command work on, and how the Slurm executor uses the site."""

    profile: str
    slurm: Slurm = Slurm()


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice (YAML itself takes the last one silently)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key `{key}` is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def load_strict(path: Path, kind: type[T]) -> T:
    """Read one YAML file into a frozen description.

    Args:
        path: The file.
        kind: The class that it must fit.

    Returns:
        The checked description.

    Raises:
        StudyError: The file is missing, is not YAML, or breaks a rule; names file, key, expected and found.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _StrictLoader)  # noqa: S506 - a SafeLoader
    except FileNotFoundError:
        raise StudyError(f"{path}: no such file; run this in kdcap's folder, where params.yaml is.") from None
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise StudyError(f"{path}{line}: {error.problem}; correct the file.") from None
    except (yaml.YAMLError, ValueError, TypeError, OSError) as error:  # bytes, dates or keys that YAML cannot take
        raise StudyError(
            f"{path}: expected YAML text, found something else ({' '.join(str(error).split())}); correct the file."
        ) from None
    if not isinstance(content, dict):
        raise StudyError(f"{path}: expected `key: value` lines, found {type(content).__name__}.")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise StudyError(_sentence(path, error)) from None


def resolve_profile(profile: str | None) -> str:
    """The profile named, or else the one of the environment's KDCAP_PROFILE, or else the one that params.yaml names.

    Raises:
        StudyError: params.yaml is missing or wrong, or there is no such profile.
    """
    if profile is not None:
        name, source = profile, "--profile"
    elif of_environment := os.environ.get(PROFILE_VARIABLE):
        name, source = of_environment, PROFILE_VARIABLE
    else:
        name, source = load_strict(PARAMS, Params).profile, f"{PARAMS}, profile"
    known = sorted(path.stem for path in PROFILES.glob("*.yaml"))
    if name not in known:
        raise StudyError(f"{source}: expected one of {', '.join(known) or 'no profile at all'}, found {name}.")
    return name


def load_study(profile: str) -> Study:
    """The study of a profile, read from profiles/PROFILE.yaml and checked.

    Raises:
        StudyError: See `load_strict`; or a method or network cannot be had as described, or two runs of a phase would
            have one name.
    """
    path = PROFILES / f"{profile}.yaml"
    study = load_strict(path, Study)
    try:
        _check_methods(study)
        _check_networks(study)
    except StudyError as error:
        raise StudyError(f"{path}: {error}") from None
    # at the first of the seeds, since names of other seeds differ by the seed alone
    first = study.model_copy(update={"seeds": study.seeds[:1]})
    labels = Counter((entry.phase, entry.label) for entry in plan(first, any_winner(first)))
    (phase, label), times = labels.most_common(1)[0]
    if times > 1:
        raise StudyError(f"{path}: expected each run once within a phase, found {label} {times} times in {phase}.")
    return study


def _check_methods(study: Study) -> None:
    for method, grid in study.selection.grid.items():
        find(method)
        known = sorted(["alpha", *HYPERPARAMETERS.get(method, [])])
        if method in HYPERPARAMETERS and list(grid.values) != known:
            raise StudyError(
                f"selection.grid.{method}: expected the hyperparameters {', '.join(known)}, found "
                f"{', '.join(grid.values)}; add, remove or rename."
            )


def _check_networks(study: Study) -> None:
    networks = (*study.teachers.architectures, *study.baselines)
    family = {network: layout(network, study.model.width).family for network in networks}
    for network in networks:
        _check_first_stage(network, study.model.width)
    comparing = [method for method in study.methods if method in STAGE_BY_STAGE]
    for pair in study.pairs:
        if comparing and family[pair.teacher] != family[pair.student]:
            raise StudyError(
                f"pairs: expected teacher and student of one family, since {' and '.join(comparing)} compare their "
                f"stages, found {pair.teacher} and {pair.student}; take out the pair or the method."
            )


def _check_first_stage(network: Architecture, width: int) -> None:
    # `model.width` is the first stage's channels in a ResNet-18 and -34 alone: a WideResNet has a quarter of it or more
    found = channels(network, width)[0]
    if found < NARROWEST:
        enough = -(-NARROWEST * FULL_WIDTH // channels(network, FULL_WIDTH)[0])
        raise StudyError(
            f"model.width: expected {NARROWEST} channels or more out of the first stage of {network}, since oneDNN "
            f"writes past its memory in the gradients of fewer, found {found} at width {width}; raise model.width to "
            f"{enough} or more in the profile."
        )


def _sentence(path: Path, error: ValidationError) -> str:
    # A misspelt key is also a missing one: name what stands in the file.
    first, *others = sorted(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    key = ".".join(str(part) for part in first["loc"]).removesuffix(".[key]")
    more = f" ({len(others)} more after this one)" if others else ""
    match first["type"]:
        case "extra_forbidden":
            missing = [str(each["loc"][-1]) for each in others if each["type"] == "missing"]
            what = "is not a key of this file; remove it or correct its spelling"
            what += f" (missing: {', '.join(f'`{name}`' for name in missing)})" if missing else ""
        case "missing":
            what = "is missing; add it"
        case "value_error":  # our own rules: they say what they expect and found
            return f"{path}: {key + ': ' if key else ''}{first['ctx']['error']}{more}."
        case _ if first["loc"][-1:] == ("[key]",) or first["type"] == "invalid_key":
            what = "must be a name of lower-case letters, digits and underscores"
        case "too_short":
            what = f"expected at least 1 value, found {first['input']!r}"
        case "model_type" | "dict_type":
            what = f"expected a block of `key: value` lines, found {first['input']!r}"
        case "tuple_type":
            what = f"expected a list of values, found {first['input']!r}"
        case _:
            expected = first["msg"].removeprefix("Input should be ")
            what = f"expected {expected}, found {first['input']!r}"
    return f"{path}: key `{key}` {what}{more}."
