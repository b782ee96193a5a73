# Read by gunicorn if it is started in this folder.
from bgresults.integrations.gunicorn import post_fork, post_worker_init, worker_exit  # noqa: F401

worker_class = "gthread"
# A request that waits, and a page that watches, keep a thread each while they do.
threads = 64
# Of gunicorn 24 and later: a file in the home folder, which two of them would share.
control_socket_disable = True
