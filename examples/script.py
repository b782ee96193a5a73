"""Several reports at a time, on a terminal: ``make example-script``, or beside a running example
``REDIS_URL=redis://… python -m examples.script``.
"""

import os
from concurrent.futures import Future, as_completed

from celery import Celery
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from bgresults import ResultWatcher
from examples.shared.tasks import REGIONS, NoFiguresError, build_report

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")

app = Celery("script", broker=REDIS_URL, backend=REDIS_URL, include=["examples.shared.tasks"])


def main(pages=24):
    columns = (TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn())
    with ResultWatcher.from_celery(app) as watcher, Progress(*columns) as display:
        regions: dict[Future, str] = {submit(watcher, display, region, pages): region for region in REGIONS}
        for future in as_completed(regions, timeout=120):
            try:
                report = future.result()
            except NoFiguresError as error:
                display.print(f"[red]{regions[future]}: {error}")
            else:
                display.print(f"{report['Region']}: {report['Revenue']}")


def submit(watcher, display, region, pages):
    """Send a task whose progress moves a bar of its own; its future."""
    bar = display.add_task(region, total=pages)

    def update(state):
        if state.status == "PROGRESS":
            display.update(bar, completed=state.result["current"])

    return watcher.submit(build_report, (region, pages), on_update=update)


if __name__ == "__main__":
    main()
