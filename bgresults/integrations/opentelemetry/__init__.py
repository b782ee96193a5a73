"""Traces and metrics for OpenTelemetry: ``pip install 'bgresults[otel]'``.

.. code-block:: python

    from bgresults.integrations.opentelemetry import install

    install()  # after the SDK was set up

Only the API is used; without an SDK nothing is recorded. What there is to see: docs/monitoring.md.
"""

try:
    from bgresults.integrations.opentelemetry.installation import Installation, install
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] != "opentelemetry":
        raise
    raise ImportError(
        "bgresults.integrations.opentelemetry needs opentelemetry-api: pip install 'bgresults[otel]'"
    ) from error

__all__ = ["Installation", "install"]
