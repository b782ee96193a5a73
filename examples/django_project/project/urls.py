"""The pages."""

from django.contrib.staticfiles.urls import staticfiles_urlpatterns
from django.urls import include, path

from . import views

urlpatterns = [
    path("", views.start, name="start"),
    path("wait", views.wait, name="wait"),
    path("wait/<uuid:task_id>", views.wait_again, name="wait_again"),
    path("watch", views.watch, name="watch"),
    path("watch/<uuid:task_id>", views.progress, name="progress"),
    path("compare", views.compare, name="compare"),
    path("comparison", views.comparison, name="comparison"),
    path("events/<uuid:task_id>", views.events, name="events"),
    path("bgresults/", include("bgresults.integrations.django.urls")),
    *staticfiles_urlpatterns(),
]
