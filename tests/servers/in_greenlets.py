"""A program of greenlets: ``python -m tests.servers.in_greenlets LIBRARY WHEN URL COUNT [MOMENT ...]``.

LIBRARY is ``gevent`` or ``eventlet``, WHEN is ``first`` or ``late``: before or after bgresults is imported. COUNT
greenlets wait for a result each. Each MOMENT is something that it does afterwards. It prints what it finds as one JSON
object.
"""

from __future__ import annotations

import sys
import warnings


def patch(library: str) -> None:
    """Make greenlets of threads."""
    if library == "gevent":
        from gevent import monkey

        monkey.patch_all()
    elif library == "eventlet":
        with warnings.catch_warnings():
            # That it should not be used any more.
            warnings.simplefilter("ignore")
            import eventlet
        eventlet.monkey_patch()


def main(library: str, when: str, url: str, count: int, moments: list[str]) -> None:
    if when == "first":
        patch(library)
    import json
    import logging

    from tests.servers.greenlet_program import Program

    if when == "late":
        patch(library)
    # Whatever this library has to say is heard.
    logging.basicConfig(level=logging.INFO)
    program = Program(url)
    program.everybody_waits(count)
    for moment in moments:
        getattr(program, moment)()
    print(json.dumps(program.found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5:])
