"""The drop-in in a program of greenlets: ``python -m tests.servers.dropin_in_greenlets WHEN URL COUNT``.

WHEN is ``first`` or ``late``: patched by gevent before or after bgresults is imported. COUNT greenlets are in ``get()``
at the same time; then half as many in a forked child. Prints what it finds as one JSON object.
"""

from __future__ import annotations

import sys

WAIT = 30


def main(when: str, url: str, count: int) -> None:
    from gevent import monkey

    if when == "first":
        monkey.patch_all()
    import json
    import os
    import threading

    from celery import Celery

    from bgresults import ResultWatcher
    from tests.support.results import new_ids

    app = Celery("web", broker="memory://", backend=f"bgresults+{url}")
    if when == "late":
        monkey.patch_all()

    def all_wait(size: int) -> int:
        ids = new_ids(size)
        values: dict[str, object] = {}

        def wait_for(task_id: str) -> None:
            values[task_id] = app.AsyncResult(task_id).get(timeout=WAIT)

        threads = [threading.Thread(target=wait_for, args=(task_id,)) for task_id in ids]
        for thread in threads:
            thread.start()
        for number, task_id in enumerate(ids):
            app.backend.store_result(task_id, number, "SUCCESS")
        for thread in threads:
            thread.join(WAIT)
        return sum(values.get(task_id) == number for number, task_id in enumerate(ids))

    found = {"right": all_wait(count)}
    pid = os.fork()
    if pid == 0:
        right = -1
        try:
            right = all_wait(count // 2)
        finally:
            os._exit(0 if right == count // 2 else 1)
    found["child"] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    found["again"] = all_wait(count)
    print(json.dumps(found), flush=True)
    ResultWatcher.from_celery(app).close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
