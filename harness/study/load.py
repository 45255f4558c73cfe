"""Reads params.yaml and profiles/*.yaml; every mistake becomes one sentence with file and key."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from harness.errors import StudyError
from harness.study.spec import Frozen
from harness.study.study import Study

T = TypeVar("T", bound=BaseModel)

PARAMS = Path("params.yaml")
PROFILES = Path("profiles")


class Params(Frozen):
    """params.yaml: which profile `dvc repro` and every command work on."""

    profile: str


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
    if not isinstance(content, dict):
        raise StudyError(f"{path}: expected `key: value` lines, found {type(content).__name__}.")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise StudyError(_sentence(path, error)) from None


def resolve_profile(profile: str | None) -> str:
    """The profile named, or else the one that params.yaml names.

    Raises:
        StudyError: params.yaml is missing or wrong, or there is no such profile.
    """
    name = profile if profile is not None else load_strict(PARAMS, Params).profile
    known = sorted(path.stem for path in PROFILES.glob("*.yaml"))
    if name not in known:
        source = "--profile" if profile is not None else f"{PARAMS}, profile"
        raise StudyError(f"{source}: expected one of {', '.join(known) or 'no profile at all'}, found {name}.")
    return name


def load_study(profile: str) -> Study:
    """The study of a profile, read from profiles/PROFILE.yaml and checked.

    Raises:
        StudyError: See `load_strict`.
    """
    return load_strict(PROFILES / f"{profile}.yaml", Study)


def _sentence(path: Path, error: ValidationError) -> str:
    first, *others = error.errors()
    key = ".".join(str(part) for part in first["loc"])
    more = f" ({len(others)} more after this one)" if others else ""
    match first["type"]:
        case "extra_forbidden":
            what = "is not a key of this file; remove it or correct its spelling"
        case "missing":
            what = "is missing; add it"
        case "value_error":  # our own rules: they say what they expect and found
            return f"{path}: {key + ': ' if key else ''}{first['ctx']['error']}{more}."
        case _:
            expected = first["msg"].removeprefix("Input should be ")
            what = f"expected {expected}, found {first['input']!r}"
    return f"{path}: key `{key}` {what}{more}."
