"""bgresults bench: the questions of the repository, from a checkout and from a wheel."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bgresults.testing.servers import find_redis_server
from tests.cli.running import COMMAND, ENVIRONMENT

ROOT = Path(__file__).resolve().parents[2]


def bench(folder: Path, *words: str, path: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**ENVIRONMENT, "PYTHONPATH": str(path)}
    command = [*COMMAND, "bench", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_arguments_are_those_of_the_benchmarks(tmp_path: Path) -> None:
    done = bench(tmp_path, "--help")
    assert done.returncode == 0
    assert "--rounds ROUNDS" in done.stdout
    done = bench(tmp_path, "p99", "--quick")
    assert done.returncode == 2
    assert "no such question: p99; there are " in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.skipif(find_redis_server() is None, reason="no redis-server")
def test_from_a_wheel(tmp_path: Path) -> None:
    built = tmp_path / "built"
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(built), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (wheel,) = built.iterdir()
    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    done = bench(folder, "p7", "--quick", "--rounds", "1", path=installed)
    assert done.returncode in (0, 1), done.stderr
    assert "P7  watch() in the calling thread" in done.stdout
    (figures,) = folder.glob("bgresults-bench-*.json")
    assert list(json.loads(figures.read_text())["questions"]) == ["p7"]
    assert not list(installed.rglob("results")), "nothing is written beside the installed package"
