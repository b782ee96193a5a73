"""For Flask applications: ``pip install 'bgresults[flask]'``.

.. code-block:: python

    results = BgResults()


    def create_app():
        app = Flask(__name__)
        app.config["BGRESULTS_CELERY_APP"] = "proj.celery:app"
        results.init_app(app)
        return app


    @blueprint.get("/report")
    def report():
        return results.submit(build_report, (user_id,)).result(timeout=5)
"""

try:
    from bgresults.integrations.flask.application import ApplicationResults
    from bgresults.integrations.flask.extension import BgResults
    from bgresults.integrations.flask.streaming import event_stream
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] != "flask":
        raise
    raise ImportError("bgresults.integrations.flask needs Flask: pip install 'bgresults[flask]'") from error

__all__ = ["ApplicationResults", "BgResults", "event_stream"]
