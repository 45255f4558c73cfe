"""Adds what cyclonedx-py cannot see to the SBOM of kdcap's environment: Python itself and the image's Debian packages.

    python sbom.py ENVIRONMENT_SBOM DPKG_FOLDER IMAGE_SBOM

The image's build calls it. DPKG_FOLDER is the `/var/lib/dpkg` of the image that kdcap goes into, which need not be the
one that builds it; both are of one base, so that Python and the distribution are this process's own.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import distributions
from itertools import chain
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

FIELDS = ("Package", "Version", "Architecture", "source:Package", "source:Version", "db:Status-Status")
SHOW = "\\t".join(f"${{{field}}}" for field in FIELDS) + "\\n"


def debian_packages(lines: Iterable[str], distro: str) -> Iterator[PackageURL]:
    """The installed packages, by purl-spec's type `deb`.

    The qualifier `upstream` is not in the specification, but scanners read it (syft writes it): advisories of Debian
    name source packages.

    Args:
        lines: Output of `dpkg-query --show --showformat=SHOW`: a package's FIELDS, separated by tabs.
        distro: The distribution and its version, like `debian-12`.
    """
    for line in lines:
        name, version, architecture, source, source_version, status = line.split("\t")
        upstream = source if source_version == version else f"{source}@{source_version}"
        qualifiers = {"arch": architecture, "distro": distro} | ({} if upstream == name else {"upstream": upstream})
        if status == "installed":
            yield PackageURL("deb", distro.partition("-")[0], name, version, qualifiers)


def python_itself() -> Iterator[PackageURL]:
    """The Python that environments are made from, and the packages that came with it."""
    yield PackageURL("generic", None, "python", platform.python_version())
    home = sysconfig.get_path("purelib", vars={"base": sys.base_prefix})
    for package in sorted(distributions(path=[home]), key=lambda package: package.name):
        yield PackageURL("pypi", None, package.name, package.version)


def image_sbom(environment: Mapping[str, Any], packages: Iterable[PackageURL]) -> dict[str, Any]:
    """The environment's SBOM with more packages; what these depend on is left out, which in CycloneDX means unknown."""
    added = [
        {"type": "library", "bom-ref": str(url), "name": url.name, "version": url.version, "purl": str(url)}
        for url in packages
    ]
    return {**environment, "components": [*environment.get("components", []), *added]}


def main(environment: str, dpkg: str, image: str) -> None:
    """Reads the environment's SBOM and dpkg's database, and writes the image's SBOM if it is valid."""
    release = platform.freedesktop_os_release()
    query = ["dpkg-query", f"--admindir={dpkg}", "--show", f"--showformat={SHOW}"]
    lines = subprocess.run(query, check=True, capture_output=True, text=True).stdout.splitlines()  # noqa: S603 - fixed
    debian = debian_packages(lines, f"{release['ID']}-{release['VERSION_ID']}")
    sbom = image_sbom(json.loads(Path(environment).read_text(encoding="utf-8")), chain(python_itself(), debian))
    text = json.dumps(sbom, indent=2, ensure_ascii=False) + "\n"
    if fault := JsonStrictValidator(SchemaVersion.from_version(sbom["specVersion"])).validate_str(text):
        sys.exit(f"error: the SBOM is not valid CycloneDX {sbom['specVersion']}: {fault}")
    Path(image).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
