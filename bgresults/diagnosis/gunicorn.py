"""What can be known of gunicorn's workers from outside of gunicorn: its environment variable, and its settings file."""

from __future__ import annotations

import argparse
import ast
import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

__all__ = ["GunicornWorkers", "gunicorn_workers"]

# Where gunicorn looks by itself.
_SETTINGS_FILE = "gunicorn.conf.py"
_SETTINGS = {"worker_class", "threads"}
_UNKNOWN = "unknown"


@dataclass(frozen=True)
class GunicornWorkers:
    """How gunicorn would run the application.

    Attributes:
        worker_class: gunicorn's name of it; "unknown" if it is computed.
        source: where that was read.
    """

    worker_class: str
    source: str


def gunicorn_workers(environment: Mapping[str, str] = os.environ, folder: Path | None = None) -> GunicornWorkers | None:
    """Read ``GUNICORN_CMD_ARGS`` and the settings file; None if there is neither.

    The settings file is a program. It is not run here, so only plain assignments in it are seen. What is given on
    gunicorn's command line is not seen at all.

    Args:
        environment: variables.
        folder: in which gunicorn would be started; None for the current one.
    """
    words = environment.get("GUNICORN_CMD_ARGS")
    try:
        given = vars(_parser().parse_known_args(shlex.split(words or ""))[0])
    except (ValueError, argparse.ArgumentError):
        return None
    named = given.pop("config")
    file = (folder or Path.cwd()) / (named or _SETTINGS_FILE).removeprefix("file:")
    in_file = _assignments(file)
    if words is None and in_file is None:
        return None
    found = {**(in_file or {}), **{name: value for name, value in given.items() if value is not None}}
    source = "GUNICORN_CMD_ARGS" if given["worker_class"] is not None or in_file is None else str(file)
    return GunicornWorkers(_effective_class(found), source)


def _effective_class(found: Mapping[str, Any]) -> str:
    """As gunicorn does it: more than one thread makes other workers of the default ones."""
    worker_class, threads = found.get("worker_class", "sync"), found.get("threads", 1)
    if not isinstance(worker_class, str):
        return _UNKNOWN
    if worker_class == "sync" and threads != 1:
        return "gthread" if isinstance(threads, int) else _UNKNOWN
    return worker_class


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("-k", "--worker-class", dest="worker_class")
    parser.add_argument("--threads", type=int)
    parser.add_argument("-c", "--config")
    return parser


def _assignments(file: Path) -> dict[str, Any] | None:
    """What a file assigns to the settings that count; "unknown" if that is computed. None without a file."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return None
    plain = {id(target): value for target, value in _plain_assignments(tree)}
    found: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in _SETTINGS:
            found[node.id] = _literal(plain[id(node)]) if id(node) in plain else _UNKNOWN
        elif isinstance(node, ast.ImportFrom):
            names = {name.asname or name.name for name in node.names}
            found.update(dict.fromkeys(_SETTINGS if "*" in names else _SETTINGS & names, _UNKNOWN))
    return found


def _plain_assignments(tree: ast.Module) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Targets and values of those that are made in any case."""
    for node in tree.body:
        if isinstance(node, ast.Assign):
            yield from ((target, node.value) for target in node.targets)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            yield node.target, node.value


def _literal(value: ast.expr) -> Any:
    try:
        return ast.literal_eval(value)
    except ValueError:
        # Computed: whatever it is, it is not known to be the default.
        return _UNKNOWN
