"""``python -m tests.distribution``: build an sdist and a wheel, install each into an empty environment, and use it.

The wheel is then installed with its extras, and used again; and type checkers look at ``tests/typing`` as they look at
a program of somebody who has installed it. None of it is done in the repository, so nothing is found there by luck.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import HeaderParser
from pathlib import Path
from zipfile import ZipFile

from bgresults.testing import embedded_redis
from tests.distribution.archives import complaints_about_sdist, complaints_about_wheel, names_in, tracked

ROOT = Path(__file__).resolve().parents[2]
DIST = ROOT / "dist"
SMOKE = Path(__file__).with_name("smoke.py")
TYPED = ROOT / "tests" / "typing"
#: What nobody installs who uses the library.
OTHER_EXTRAS = {"demo", "dev", "docs"}
#: Celery has no types; these are what many have installed for it.
STUBS = "celery-types>=0.23"


class NotFit(Exception):
    """What was built cannot be released; says why."""


def main() -> int:
    """Do all of it; returns 0 if it can be released."""
    # What is meant for the interpreter that runs this would be found by those of the environments, too.
    for name in ("PYTHONPATH", "PYTHONHOME"):
        os.environ.pop(name, None)
    try:
        with tempfile.TemporaryDirectory(prefix="bgresults-dist-") as folder, embedded_redis() as server:
            _check(Path(folder), server.url())
    except NotFit as error:
        print(f"dist-test: {error}", file=sys.stderr)
        return 1
    return 0


def _check(folder: Path, url: str) -> None:
    with _told("build an sdist, and a wheel of the sdist"):
        shutil.rmtree(DIST, ignore_errors=True)
        _run([sys.executable, "-m", "build", "--outdir", str(DIST), str(ROOT)], folder)
        (sdist,), (wheel,) = DIST.glob("*.tar.gz"), DIST.glob("*.whl")
    with _told(f"what is in {sdist.name} and {wheel.name}"):
        sources = tracked(ROOT)
        found = complaints_about_sdist(names_in(sdist), sources) + complaints_about_wheel(names_in(wheel), sources)
        if found:
            raise NotFit("\n".join(found))
        _run([sys.executable, "-m", "twine", "check", "--strict", str(sdist), str(wheel)], folder)
    version, extras = _metadata(wheel)
    for archive in (sdist, wheel):
        with _told(f"{archive.name} in an empty environment"):
            python = _environment(folder / archive.suffix, str(archive))
            _smoke(python, folder, url, version)
    # By itself: the packages of another extra, such as those of pytest, may hide that one is missing.
    with _told(f"{wheel.name}[celery]"):
        _install(python, f"{wheel}[celery]")
        _smoke(python, folder, url, version, "celery")
    with _told(f"{wheel.name}[{','.join(extras)}]"):
        _install(python, f"{wheel}[{','.join(extras)}]")
        _smoke(python, folder, url, version, "all")
    with _told("mypy and pyright, as a program that uses it has them"):
        _install(python, STUBS)
        _check_types(python, folder / "program")
    with _told("the tests of the sdist can be collected"):
        _collect(sdist, folder)


def _metadata(wheel: Path) -> tuple[str, list[str]]:
    """Its version, and the extras for those who use the library."""
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
        metadata = HeaderParser().parsestr(archive.read(name).decode())
    extras = set(metadata.get_all("Provides-Extra", [])) - OTHER_EXTRAS
    return metadata["Version"], sorted(extras)


def _environment(place: Path, requirement: str) -> Path:
    """A new environment with nothing but this; returns its interpreter."""
    venv.create(place, with_pip=False, symlinks=True)
    python = place / "bin" / "python"
    _install(python, requirement)
    return python


def _install(python: Path, requirement: str) -> None:
    _run([sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", requirement], python.parent)


def _smoke(python: Path, folder: Path, url: str, version: str, extras: str = "") -> None:
    _run([str(python), "-I", "-W", "error", str(SMOKE), url, version, extras], folder)


def _check_types(python: Path, folder: Path) -> None:
    folder.mkdir()
    for file in TYPED.glob("*.py"):
        shutil.copy(file, folder)
    # Or pyright would look for one in all folders above.
    (folder / "pyrightconfig.json").write_text("{}")
    mypy = [sys.executable, "-m", "mypy", "--python-executable", str(python), "--cache-dir", os.devnull]
    # What else is installed there has no types either, and Celery's decorators are no concern of ours.
    _run([*mypy, "--strict", "--ignore-missing-imports", "--allow-untyped-decorators", "."], folder)
    _run([sys.executable, "-m", "pyright", "--pythonpath", str(python), "."], folder)


def _collect(sdist: Path, folder: Path) -> None:
    _run([sys.executable, "-m", "tarfile", "--extract", str(sdist), str(folder)], folder)
    # The packages are those of this environment; what is tested is found in the current folder, before all others.
    pytest = [sys.executable, "-m", "pytest", "--collect-only", "--quiet", "-p", "no:cacheprovider", "tests"]
    _run(pytest, folder / sdist.name.removesuffix(".tar.gz"))


@contextmanager
def _told(what: str) -> Iterator[None]:
    print(f"{what} ...", flush=True)
    started = time.monotonic()
    yield
    print(f"    ok, {time.monotonic() - started:.1f} s", flush=True)


def _run(command: list[str], folder: Path) -> None:
    """Run it in this folder; what it says is told only if it fails.

    Raises:
        NotFit: it failed.
    """
    done = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        raise NotFit(f"{' '.join(command)} ended with code {done.returncode}:\n{done.stdout.decode(errors='replace')}")


if __name__ == "__main__":
    sys.exit(main())
