"""The drop-in: ``AsyncResult.get()`` and everything like it wait on the background thread.

For applications whose call sites stay as they are. Either the setting says so,

.. code-block:: python

    app.conf.result_backend = "bgresults+redis://localhost/0"  # +rediss, +socket, +sentinel, +rpc as well

or an application that exists already is changed, and changed back:

.. code-block:: python

    from bgresults.integrations.celery import install, uninstall

    install(app)

Results are stored, encoded and joined in chords by Celery's own backend, of which the drop-in's is a subclass.
"""

from bgresults.integrations.celery.dropin.backends import backend
from bgresults.integrations.celery.dropin.installation import install, uninstall

__all__ = ["backend", "install", "uninstall"]
