"""The supply chain: an audit that found nothing out is no pass, and an SBOM of the whole image that others can read."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from requirements.audit import CANARY, pins
from requirements.sbom import debian_packages, image_sbom

REQUIREMENTS = Path(__file__).parents[1] / "requirements"
PINS = [pin for lock in REQUIREMENTS.glob("*.lock") for pin in pins(lock.read_text(encoding="utf-8"))]

# Answers as pip-audit 2.10 does. {change} alters `flaws` (by name and version) or `answers`, or ends the process.
FAKE = """#!{python}
import json, pathlib, sys
options = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
assert "--strict" in sys.argv and options["--format"] == "json", sys.argv
pins = [line.split("==") for line in pathlib.Path(options["--requirement"]).read_text().splitlines()]
assert len(dict(pins)) == len(pins), "pip-audit refuses a package in two versions"
with open({asked!r}, "a") as log:
    log.writelines("==".join(pin) + "\\n" for pin in pins)
flaws = {{("jinja2", "2.10"): [dict(id="PYSEC-2019-217", fix_versions=["2.10.1"])]}}
answers = []
{change}
done = [answer["name"] for answer in answers]
answers += [dict(name=n, version=v, vulns=flaws.get((n, v), [])) for n, v in pins if n not in done]
print(json.dumps(dict(dependencies=answers, fixes=[])))
sys.exit(any(answer.get("vulns") for answer in answers))
"""


def audit(folder: Path, change: str | None) -> tuple[int, str, list[str]]:
    """Runs `audit.py` on the real locks with a fake pip-audit, or none: exit code, output, the pins asked for."""
    if change is not None:
        fake = folder / "pip-audit"
        fake.write_text(
            FAKE.format(python=sys.executable, asked=str(folder / "asked"), change=change), encoding="utf-8"
        )
        fake.chmod(0o755)
    done = subprocess.run(
        [sys.executable, REQUIREMENTS / "audit.py"],
        env=os.environ | {"PATH": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    asked = folder / "asked"
    return done.returncode, done.stdout, asked.read_text(encoding="utf-8").splitlines() if asked.exists() else []


def test_every_pin_is_read() -> None:
    """No pin of a lock escapes the audit: not one for another Python or platform, not a build of torch."""
    for lock in REQUIREMENTS.glob("*.lock"):
        text = lock.read_text(encoding="utf-8")
        assert len(pins(text)) == len(re.findall("==", re.sub("[;#].*", "", text))), lock.name
    assert pins("torch==2.13.0+cpu --hash=x\nnetworkx==3.7 ; python_version >= '3.12' \\\n    --hash=x\n") == {
        ("torch", "2.13.0"),
        ("networkx", "3.7"),
    }


def test_an_audit_passes_when_all_pins_are_found_clean(tmp_path: Path) -> None:
    """It asks for the canary first, then for each pin of each lock once, and says how many there are."""
    code, said, asked = audit(tmp_path, "")
    assert code == 0, said
    assert asked[0] == "==".join(CANARY)
    assert sorted(asked[1:]) == sorted({"==".join(pin) for pin in PINS})
    assert re.search(r"^base\.lock: \d\d+ pins, none with known vulnerabilities$", said, re.MULTILINE)


def test_a_vulnerable_pin_fails_the_audit(tmp_path: Path) -> None:
    """Exit code 1, with the package, the advisory and the version that mends it, under the lock that pins it."""
    code, said, _ = audit(
        tmp_path, "flaws |= {(n, v): [dict(id='X-1', fix_versions=['9'])] for n, v in pins if n == 'torch'}"
    )
    assert code == 1, said
    for lock in ("torch-cpu", "torch-cuda"):
        count = f"{lock}.lock: {len(pins((REQUIREMENTS / f'{lock}.lock').read_text(encoding='utf-8')))} pins"
        assert f"{count}, 1 with known vulnerabilities\n  torch==2.13.0: X-1 (mended in 9)\n" in said
    assert "dev.lock: " in said


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("flaws.clear()", "has nothing against jinja2==2.10"),
        ("pins.clear()", "1 of 1 packages have no answer: jinja2"),
        ("pins = [pin for pin in pins if pin[0] != 'numpy']", r"1 of \d+ packages have no answer: numpy"),
        ("pins = [(n, '0' if n == 'numpy' else v) for n, v in pins]", r"1 of \d+ packages have no answer: numpy"),
        ("answers += [dict(name=n, skip_reason='no') for n, _ in pins if n == 'numpy']", "no answer: numpy"),
        (
            "if len(pins) > 1: sys.exit('ERROR:pip_audit._cli:numpy: not found on PyPI')",
            "numpy: not found on PyPI",
        ),
        ("sys.exit(0)", "pip-audit exited with 0 and said nothing"),
        (None, "pip-audit is not on the PATH"),
    ],
    ids=["blind", "nothing", "partial", "other-version", "skipped", "refused", "silent", "missing"],
)
def test_what_was_not_found_out_is_no_pass(tmp_path: Path, change: str | None, why: str) -> None:
    """Exit code 3 and one sentence, if the database knows nothing, or any pin is left without an answer."""
    code, said, _ = audit(tmp_path, change)
    assert code == 3, said
    assert re.fullmatch(rf"could not audit: .*{why}.*", said.splitlines()[-1])


PACKAGES = [
    "bash\t5.2.15-2+b8\tamd64\tbash\t5.2.15-2\tinstalled",
    "libc6\t2.36-9+deb12u10\tamd64\tglibc\t2.36-9+deb12u10\tinstalled",
    "login\t1:4.13+dfsg1-1+b1\tamd64\tshadow\t1:4.13+dfsg1-1\tinstalled",
    "tini\t0.19.0-1\tamd64\ttini\t0.19.0-1\tinstalled",
    "gone\t1.0\tall\tgone\t1.0\tconfig-files",
]


def environment_sbom() -> dict[str, Any]:
    """An SBOM as cyclonedx-py writes it, of one package."""
    component = {"type": "library", "name": "numpy", "version": "2.4.6", "purl": "pkg:pypi/numpy@2.4.6"}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": "root-component", "name": "kdcap"}},
        "components": [component | {"bom-ref": "numpy==2.4.6"}],
        "dependencies": [{"ref": "root-component", "dependsOn": ["numpy==2.4.6"]}, {"ref": "numpy==2.4.6"}],
    }


def faults(sbom: dict[str, Any]) -> str | None:
    """What the schema of CycloneDX 1.6 has against an SBOM."""
    found = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(sbom))
    return None if found is None else str(found)


def test_the_sbom_names_debians_packages() -> None:
    """Each installed package becomes a valid component, and its URL names its source package where that is another."""
    environment = environment_sbom()
    sbom = image_sbom(environment, debian_packages(PACKAGES, "debian-12"))
    assert faults(sbom) is None
    assert environment == environment_sbom(), "the given SBOM is left as it was"
    numpy, *debian = sbom["components"]
    assert environment | {"components": [numpy, *debian]} == sbom
    assert numpy == environment["components"][0]
    assert [component["purl"] for component in debian] == [
        "pkg:deb/debian/bash@5.2.15-2%2Bb8?arch=amd64&distro=debian-12&upstream=bash%405.2.15-2",
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64&distro=debian-12&upstream=glibc",
        "pkg:deb/debian/login@1:4.13%2Bdfsg1-1%2Bb1?arch=amd64&distro=debian-12&upstream=shadow%401:4.13%2Bdfsg1-1",
        "pkg:deb/debian/tini@0.19.0-1?arch=amd64&distro=debian-12",
    ]
    assert (debian[2]["name"], debian[2]["version"]) == ("login", "1:4.13+dfsg1-1+b1")


def test_the_schema_can_refuse() -> None:
    """The validator is not blind: a component of a made-up type is a fault, and so is one that stands there twice."""
    assert "is not one of" in (faults(environment_sbom() | {"components": [{"type": "wheel", "name": "x"}]}) or "")
    twice = image_sbom(environment_sbom(), debian_packages([PACKAGES[0]] * 2, "debian-12"))
    assert "non-unique" in (faults(twice) or "")


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="Debian's dpkg-query makes the list of packages")
@pytest.mark.parametrize(("kind", "code"), [("library", 0), ("wheel", 1)])
def test_the_build_writes_a_valid_sbom_or_none(tmp_path: Path, kind: str, code: int) -> None:
    """The command reads another image's dpkg database, and ends with a sentence where the SBOM would not be valid."""
    status = "Package: {}\nStatus: {}\nVersion: 1:2.0+b1\nArchitecture: all\nMaintainer: x\nDescription: x\n\n"
    (tmp_path / "dpkg").mkdir()
    (tmp_path / "dpkg/status").write_text(
        status.format("here", "install ok installed") + status.format("gone", "deinstall ok config-files"),
        encoding="utf-8",
    )
    environment = environment_sbom()
    environment["components"][0]["type"] = kind
    (tmp_path / "environment.json").write_text(json.dumps(environment), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, REQUIREMENTS / "sbom.py", "environment.json", "dpkg", "image.json"],
        cwd=tmp_path,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert (tmp_path / "image.json").exists() == (code == 0)
    if code:
        assert done.stderr.startswith("error: the SBOM is not valid CycloneDX 1.6: ")
    else:
        components = json.loads((tmp_path / "image.json").read_text(encoding="utf-8"))["components"]
        assert components[1]["purl"] == f"pkg:generic/python@{platform.python_version()}"
        urls = [component["purl"].partition("@")[0] for component in components]
        assert [url for url in urls if url.startswith("pkg:deb/")] == ["pkg:deb/debian/here"]
        came_with_pip = any(Path(sys.base_prefix).glob("lib/python3*/site-packages/pip"))
        assert ("pkg:pypi/pip" in urls) == came_with_pip
        assert "pkg:pypi/kdcap" not in urls, "an environment's packages are cyclonedx-py's to name"
