"""The workflows ask for what the Makefile makes, on every Python that the package says it supports."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.distribution.archives import tracked

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))

# They are for the repository's host, and in no sdist.
pytestmark = pytest.mark.skipif(tracked(ROOT) is None, reason="not a repository")


def jobs_of(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load(path.read_text())["jobs"].values())


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_what_they_make_is_there(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for job in jobs_of(path):
        commands = [step["run"] for step in job["steps"] if step.get("run", "").startswith(".ci/run")]
        assert len(commands) == 1
        asked = commands[0].removeprefix(".ci/run").strip()
        wanted = set(job["strategy"]["matrix"]["target"]) if "matrix.target" in asked else {asked}
        assert wanted <= targets


def test_every_python_is_asked() -> None:
    (matrix,) = (
        job["strategy"]["matrix"]
        for path in WORKFLOWS
        for job in jobs_of(path)
        if "python" in job["strategy"]["matrix"]
    )
    classifiers = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
    assert set(classifiers) <= set(matrix["python"])
    assert set(matrix["packages"]) == {"lowest", "newest"}
