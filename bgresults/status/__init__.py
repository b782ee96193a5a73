"""What a running process says of its watchers: to itself, and, if it is asked for, to others on the same machine.

Off by default. With ``BGRESULTS_STATUS_DIR=/run/app`` in the environment, or after ``serve_status("/run/app")``, each
process that uses a watcher answers on a Unix socket in that folder, ``<host>-<process id>.sock``, which only its own
user can open. ``bgresults status --dir /run/app`` asks all of them. Until it is asked, this costs one thread that
sleeps; and when it is off, one look at the environment for each drain thread that starts.

What users call is in :mod:`bgresults.diagnosis`.
"""
