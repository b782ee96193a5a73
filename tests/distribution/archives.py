"""What is in a wheel and in an sdist, and what has to be."""

from __future__ import annotations

import subprocess
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

__all__ = ["complaints_about_sdist", "complaints_about_wheel", "names_in", "tracked"]

#: Of the repository, what only its host needs.
NOT_RELEASED = (".ci/", ".github/", ".gitignore")
#: The one module that is installed beside the package. It says why.
PLUGIN = "pytest_bgresults.py"


def tracked(root: Path) -> list[str] | None:
    """The files of the repository; None if this is none, but an sdist that was unpacked."""
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "ls-files", "-z"]
    listed = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    return [name for name in listed.split("\0") if name and (root / name).exists()]


def names_in(archive: Path) -> list[str]:
    """The files in a wheel; or in an sdist, below its one folder."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return [name for name in wheel.namelist() if not name.endswith("/")]
    with tarfile.open(archive) as sdist:
        return [member.name.partition("/")[2] for member in sdist.getmembers() if member.isfile()]


def complaints_about_wheel(names: Iterable[str], sources: Iterable[str] | None) -> list[str]:
    """What is wrong with a wheel of these files.

    Args:
        names: what :func:`names_in` says.
        sources: what :func:`tracked` says.
    """
    names = set(names)
    found = [
        f"the wheel installs {name}, outside of bgresults"
        for name in sorted(names)
        if name.partition("/")[0] not in ("bgresults", PLUGIN) and not name.partition("/")[0].endswith(".dist-info")
    ]
    required = {"bgresults/py.typed", PLUGIN, *(name for name in sources or () if name.startswith("bgresults/"))}
    found += [f"the wheel lacks {name}" for name in sorted(required - names)]
    if not any(name.endswith(".dist-info/licenses/LICENSE") for name in names):
        found.append("the wheel lacks the LICENSE")
    return found + _litter("wheel", names)


def complaints_about_sdist(names: Iterable[str], sources: Iterable[str] | None) -> list[str]:
    """The same for an sdist: it has everything that the tests need, since it has everything."""
    names = set(names)
    required = {"LICENSE", "PKG-INFO", "pyproject.toml"}
    required.update(name for name in sources or () if not name.startswith(NOT_RELEASED))
    return [f"the sdist lacks {name}" for name in sorted(required - names)] + _litter("sdist", names)


def _litter(kind: str, names: Iterable[str]) -> list[str]:
    return [f"the {kind} has {name}" for name in sorted(names) if "__pycache__" in name or name.endswith(".pyc")]
