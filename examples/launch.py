"""Start an example with everything that it needs, and end all of it with Ctrl-C: ``python -m examples.launch flask``.

A Redis server of its own (or the one that ``--redis`` names), a Celery worker, a web server. Nothing is left behind.
"""

from __future__ import annotations

import argparse
import os
import runpy
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import redis

from bgresults import ResultWatcher
from bgresults.testing import CeleryWorker, FakeRedisServer, embedded_redis
from bgresults.testing.web import WebServer
from bgresults.urls import redacted

EXAMPLES = Path(__file__).resolve().parent


SUMMARY = "Start an example with everything that it needs; Ctrl-C ends all of it."


class Example(NamedTuple):
    """Where an example is.

    Attributes:
        folder: below this one, to be started in.
        celery: its Celery application, as for ``celery -A``.
        wsgi, asgi: its web application, as for gunicorn and uvicorn; None if it has none.
    """

    folder: str
    celery: str
    wsgi: str | None = None
    asgi: str | None = None


KNOWN = {
    "django": Example("django_project", "project", "project.wsgi", "project.asgi:application"),
    "flask": Example("flask_app", "app:celery", "app:app"),
    "script": Example(".", "examples.script"),
}


def main() -> int:
    """Run what the command line asks for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m examples.launch", description=SUMMARY)
    parser.add_argument("example", choices=KNOWN)
    parser.add_argument("--asgi", action="store_true", help="under uvicorn instead of gunicorn (django)")
    parser.add_argument("--port", type=port_number, default=8000, help="of the web server; 0: a free one [%(default)s]")
    parser.add_argument("--redis", metavar="URL", help="a server that runs already, for tasks and results")
    asked = parser.parse_args()
    example = KNOWN[asked.example]
    if asked.asgi and example.asgi is None:
        parser.error(f"{asked.example} has no ASGI application; django has")
    # `kill` ends it as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if example.wsgi is not None:
            refuse_used(asked.port)
        with redis_server(asked.redis) as url, celery_worker(example, url) as worker:
            if example.wsgi is None:
                run_script(url)
            else:
                serve(example, asked.asgi, asked.port, url, worker)
    except KeyboardInterrupt:
        print("\nEverything is ended.")
    except RuntimeError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def redis_server(url: str | None) -> Iterator[str]:
    """The URL of a server: the one that was named, or one of our own while this is entered."""
    if url is not None:
        try:
            ResultWatcher(url).close()
            with redis.Redis.from_url(url, socket_timeout=5) as client:
                client.ping()
        except ValueError as error:
            raise RuntimeError(f"--redis: {error}") from error
        except redis.RedisError as error:
            raise RuntimeError(f"--redis {redacted(url)}: {error}") from error
        yield url
        return
    server = embedded_redis()
    with server:
        name = "" if isinstance(server, FakeRedisServer) else "redis-server "
        say(f"Redis at {server.url()} ({name}{server.version})")
        yield server.url()


def celery_worker(example: Example, url: str) -> CeleryWorker:
    """One for the tasks of an example; not started yet."""
    say("Starting a Celery worker ...")
    return CeleryWorker(
        example.celery,
        concurrency=4,
        python_path=[EXAMPLES / example.folder, EXAMPLES.parent],
        env={"REDIS_URL": url},
    )


def serve(example: Example, asgi: bool, port: int, url: str, worker: CeleryWorker) -> None:
    """Serve pages until the web server ends."""
    folder = EXAMPLES / example.folder
    if asgi:
        command = ["uvicorn", "--app-dir", str(folder), "--port", "{port}", "--timeout-graceful-shutdown", "1"]
        command.append(str(example.asgi))
    else:
        command = ["gunicorn", "--chdir", str(folder), "-c", f"{folder}/gunicorn.conf.py", "-b", "127.0.0.1:{port}"]
        command += ["--graceful-timeout", "1", str(example.wsgi)]
    web = WebServer(
        [sys.executable, "-m", *command],
        port=port or None,
        python_path=[EXAMPLES.parent],
        env={"REDIS_URL": url},
    )
    with web:
        say(f"Open {web.url}/ in a browser. Ctrl-C ends everything.")
        for text in news([web.log_path, worker.log_path]):
            sys.stdout.write(text)
            sys.stdout.flush()
            if web.exit_code is not None:
                raise RuntimeError("the web server has ended")
            if not worker.running:
                # As a supervisor does. It may not outlive a restart of its broker.
                say("The Celery worker has ended; starting it again ...")
                worker.restart()


def run_script(url: str) -> None:
    """Run ``examples/script.py`` as ``python -m`` does."""
    os.environ["REDIS_URL"] = url
    runpy.run_module("examples.script", run_name="__main__")


def port_number(text: str) -> int:
    """A port; ArgumentTypeError if there is none of that number."""
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"must be a number between 0 and 65535, not {text!r}")
    return int(text)


def refuse_used(port: int) -> None:
    """RuntimeError if somebody listens there."""
    with socket.socket() as probe:
        if port and probe.connect_ex(("127.0.0.1", port)) == 0:
            raise RuntimeError(f"port {port} is in use; choose another one: make … PORT=8001, or --port 8001")


def news(logs: list[Path]) -> Iterator[str]:
    """What is written to the files, as it comes; an empty text now and then."""
    read = dict.fromkeys(logs, 0)
    while True:
        for log in logs:
            with log.open("rb") as file:
                file.seek(read[log])
                added = file.read()
            read[log] += len(added)
            yield added.decode(errors="replace")
        time.sleep(0.2)


def say(line: str) -> None:
    """At once, also if nobody looks at a terminal."""
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
