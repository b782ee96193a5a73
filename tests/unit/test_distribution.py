"""What ``make dist-test`` looks for in a wheel and in an sdist: it finds what should not be released."""

from __future__ import annotations

import pytest

from tests.distribution.archives import complaints_about_sdist, complaints_about_wheel

SOURCES = [
    "bgresults/__init__.py",
    "bgresults/sse/framing.py",
    "pytest_bgresults.py",
    "tests/conftest.py",
    "docs/sse.md",
    ".ci/run",
]
WHEEL = {
    "bgresults/__init__.py",
    "bgresults/py.typed",
    "bgresults/sse/framing.py",
    "bgresults-1.2.dist-info/METADATA",
    "bgresults-1.2.dist-info/licenses/LICENSE",
    "pytest_bgresults.py",
}
SDIST = {"LICENSE", "PKG-INFO", "pyproject.toml", *SOURCES} - {".ci/run"}


@pytest.mark.parametrize("sources", [SOURCES, None], ids=["repository", "unpacked sdist"])
def test_nothing_is_wrong(sources: list[str] | None) -> None:
    assert complaints_about_wheel(WHEEL, sources) == []
    assert complaints_about_sdist(SDIST, sources) == []


@pytest.mark.parametrize("name", sorted(WHEEL - {"bgresults-1.2.dist-info/METADATA"}))
def test_the_wheel_lacks_something(name: str) -> None:
    (complaint,) = complaints_about_wheel(WHEEL - {name}, SOURCES)
    assert name.rpartition("/")[2] in complaint


@pytest.mark.parametrize("name", ["tests/conftest.py", "benchmarks/p1.py", "stray.py"])
def test_the_wheel_installs_something_beside_the_package(name: str) -> None:
    assert complaints_about_wheel({*WHEEL, name}, SOURCES) == [f"the wheel installs {name}, outside of bgresults"]


@pytest.mark.parametrize("name", sorted(SDIST))
def test_the_sdist_lacks_something(name: str) -> None:
    assert complaints_about_sdist(SDIST - {name}, SOURCES) == [f"the sdist lacks {name}"]


def test_litter() -> None:
    litter = "bgresults/__pycache__/errors.cpython-311.pyc"
    assert complaints_about_wheel({*WHEEL, litter}, SOURCES) == [f"the wheel has {litter}"]
    assert complaints_about_sdist({*SDIST, litter}, SOURCES) == [f"the sdist has {litter}"]
