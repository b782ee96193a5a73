"""Metrics for Prometheus: ``pip install 'bgresults[prometheus]'``.

.. code-block:: python

    from bgresults.integrations.prometheus import install

    install()  # all watchers of this process, and of the processes that are forked from it

With ``PROMETHEUS_MULTIPROC_DIR`` set, as several gunicorn workers need it, the values are written to where
``prometheus_client.multiprocess`` looks for them. Which metrics there are: docs/monitoring.md.
"""

try:
    from bgresults.integrations.prometheus.installation import Installation, install
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] != "prometheus_client":
        raise
    raise ImportError(
        "bgresults.integrations.prometheus needs prometheus-client: pip install 'bgresults[prometheus]'"
    ) from error

__all__ = ["Installation", "install"]
