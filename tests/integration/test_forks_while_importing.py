"""A fork in the middle of the first use, when another thread imports what this library needs for it.

The interpreter's lock of a module that is being imported is inherited by the child, held by a thread that is not there.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, sys, threading
from importlib.machinery import PathFinder

from bgresults import ResultWatcher

module, code = sys.argv[1:]
begun, forked = threading.Event(), threading.Event()


class Finder:
    def find_spec(self, name, path=None, target=None):
        if name != module or threading.current_thread() is threading.main_thread():
            return None
        spec = PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        # Not here already: while a module is looked for, no fork is made.
        def exec_module(made):
            begun.set()
            # A fork that waits for the end of the import does not come back before.
            forked.wait(0.5)
            execute(made)

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Finder())
thread = threading.Thread(target=exec, args=(code, globals()))
thread.start()
assert begun.wait(20)
pid = os.fork()
if pid == 0:
    signal.alarm(15)
    exec(code)
    os._exit(0)
forked.set()
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
thread.join()
"""
DJANGO = """
from django.conf import settings
if not settings.configured:
    settings.configure(BGRESULTS={"default": {"CELERY_APP": "celery:current_app"}})
from bgresults.integrations.django import watcher
watcher.stats()
"""
FLASK = """
from flask import Flask
from bgresults.integrations.flask import BgResults
app = Flask("web")
app.config["BGRESULTS_CELERY_APP"] = "celery:current_app"
BgResults(app).watcher.stats()
"""
AUPDATES = """
import asyncio
async def ask():
    await ResultWatcher("redis://localhost").aupdates("id").aclose()
asyncio.run(ask())
"""


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("bgresults.consumers.redis", "ResultWatcher('redis://localhost').stats()"),
        ("bgresults.consumers.rpc", "ResultWatcher('memory://').stats()"),
        ("bgresults.integrations.celery", "from celery import Celery; ResultWatcher.from_celery(Celery()).stats()"),
        ("bgresults.integrations.celery", DJANGO),
        ("bgresults.integrations.celery", FLASK),
        ("bgresults.async_updates", AUPDATES),
    ],
    ids=["redis", "rpc", "from_celery", "django", "flask", "aupdates"],
)
def test_the_child_can_import_it(module: str, code: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, module, code], capture_output=True, text=True, timeout=50, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "0\n"), ended.stderr
