"""A Flask application whose pages wait for Celery tasks, or watch them. ``make example-flask`` starts it."""

import os
from uuid import UUID

from celery import Celery, group
from flask import Flask, abort, make_response, redirect, render_template, request, url_for
from kombu.exceptions import OperationalError

from bgresults.integrations.flask import BgResults, event_stream
from examples.shared.tasks import FIGURES, REGIONS, NoFiguresError, build_report

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")
# Seconds that a request waits for a report before it answers with a 202.
PATIENCE = 2.0
MOST_PAGES = 200

celery = Celery("reports", broker=REDIS_URL, backend=REDIS_URL, include=["examples.shared.tasks"])
celery.conf.result_backend_always_retry = True  # A worker keeps a result while Redis is away.
celery.set_default()  # What @shared_task means in every thread.

app = Flask(__name__, static_folder="../shared/static")
app.config["BGRESULTS_CELERY_APP"] = celery
results = BgResults(app)


@app.get("/")
def start():
    return render_template("start.html", regions=REGIONS, region=REGIONS[0], pages=24)


@app.post("/wait")
def wait():
    """Send the task, and answer with its result, if it is there in time."""
    return report_or_202(results.submit(build_report, read_form()))


@app.get("/wait/<uuid:task_id>")
def wait_again(task_id):
    """What the 202 links to. Any process can watch the id, not only the one that has sent the task."""
    return report_or_202(results.watch(task_id))


def report_or_202(future):
    try:
        return render_template("report.html", report=future.result(timeout=PATIENCE))
    except TimeoutError:
        again = url_for("wait_again", task_id=future.task_id)
        page = render_template("not_yet.html", again=again, task_id=future.task_id)
        return page, 202, {"Location": again, "Retry-After": "2"}
    except NoFiguresError as error:
        return render_template("report.html", error=error), 422


@app.post("/watch")
def watch():
    """Send the task, and go to the page with its progress."""
    future = sent(results.submit(build_report, read_form()))
    return redirect(url_for("progress", task_id=future.task_id))


@app.get("/watch/<uuid:task_id>")
def progress(task_id):
    return render_template("progress.html", task_id=task_id)


@app.post("/compare")
def compare():
    """Send a group of tasks, and go to the page with their progress, side by side."""
    _, pages = read_form()
    futures = results.submit(group(build_report.s(region, pages) for region in FIGURES))
    ids = {region: sent(future).task_id for region, future in zip(FIGURES, futures, strict=True)}
    return redirect(url_for("comparison", **ids))


@app.get("/comparison")
def comparison():
    ids = {region: request.args.get(region, type=UUID) for region in FIGURES}
    if None in ids.values():
        abort(404)
    return render_template("comparison.html", reports=ids)


@app.get("/events/<uuid:task_id>")
def events(task_id):
    """The states of a task, as they come, for the script of the pages."""
    return event_stream(request, results, task_id, heartbeat=2.0)


def sent(future):
    """The same future; raises if its task could not be sent, so that nobody watches what will never begin."""
    if future.done() and isinstance(error := future.exception(), OperationalError):
        raise error
    return future


@app.errorhandler(OperationalError)
def not_sent(_error):
    return form_again("No worker can be reached. Try again in a moment."), 503


def read_form():
    """The region and the number of pages; if they make no sense, the answer is the form again."""
    region, pages = request.form.get("region"), request.form.get("pages", type=int)
    if region not in REGIONS or pages not in range(1, MOST_PAGES + 1):
        again = form_again(f"Choose a region, and between 1 and {MOST_PAGES} pages.")
        abort(make_response(again, 400))
    return region, pages


def form_again(error):
    fields = {name: request.form.get(name, "") for name in ("region", "pages")}
    return render_template("start.html", regions=REGIONS, error=error, **fields)
