"""One task, waited for in three ways."""

from functools import wraps
from uuid import UUID

from celery import group
from django.http import Http404
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_GET, require_POST
from kombu.exceptions import OperationalError

from bgresults.integrations.django import event_stream, watcher
from examples.shared.tasks import FIGURES, NoFiguresError, build_report

from .forms import ReportForm

# Seconds that a request waits for a report before it answers with a 202.
PATIENCE = 2.0


@require_GET
def start(request):
    """The form."""
    return render(request, "start.html", {"form": ReportForm()})


def with_form(view):
    """A view of what was sent with the form; of the form itself, if that makes no sense or no task can be sent."""

    @require_POST
    @wraps(view)
    def checked(request):
        form = ReportForm(request.POST)
        if not form.is_valid():
            return render(request, "start.html", {"form": form}, status=400)
        try:
            return view(request, **form.cleaned_data)
        except OperationalError:
            form.add_error(None, "No worker can be reached. Try again in a moment.")
            return render(request, "start.html", {"form": form}, status=503)

    return checked


@with_form
def wait(request, region, pages):
    """Send the task, and answer with its result, if it is there in time."""
    return report_or_202(request, watcher.submit(build_report, (region, pages)))


@require_GET
def wait_again(request, task_id):
    """What the 202 links to. Any process can watch the id, not only the one that has sent the task."""
    return report_or_202(request, watcher.watch(task_id))


def report_or_202(request, future):
    try:
        return render(request, "report.html", {"report": future.result(timeout=PATIENCE)})
    except TimeoutError:
        again = reverse("wait_again", args=[future.task_id])
        answer = render(request, "not_yet.html", {"again": again, "task_id": future.task_id}, status=202)
        answer["Location"], answer["Retry-After"] = again, "2"
        return answer
    except NoFiguresError as error:
        return render(request, "report.html", {"error": error}, status=422)


def sent(future):
    """The same future; raises if its task could not be sent, so that nobody watches what will never begin."""
    if future.done() and isinstance(error := future.exception(), OperationalError):
        raise error
    return future


@with_form
def watch(_request, region, pages):
    """Send the task, and go to the page with its progress."""
    future = sent(watcher.submit(build_report, (region, pages)))
    return redirect("progress", future.task_id)


@require_GET
def progress(request, task_id):
    """A bar that moves."""
    return render(request, "progress.html", {"task_id": task_id})


@with_form
def compare(_request, *, pages, **_):
    """Send a group of tasks, and go to the page with their progress, side by side."""
    futures = watcher.submit(group(build_report.s(region, pages) for region in FIGURES))
    ids = {region: sent(future).task_id for region, future in zip(FIGURES, futures, strict=True)}
    return redirect(f"{reverse('comparison')}?{urlencode(ids)}")


@require_GET
def comparison(request):
    """Bars that move."""
    try:
        ids = {region: UUID(request.GET[region]) for region in FIGURES}
    except (KeyError, ValueError):
        raise Http404("no such reports") from None
    return render(request, "comparison.html", {"reports": ids})


@require_GET
def events(request, task_id):
    """The states of a task, as they come, for the script of the pages."""
    return event_stream(request, watcher, task_id, heartbeat=2.0)
