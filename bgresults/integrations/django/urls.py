"""``path("bgresults/", include("bgresults.integrations.django.urls"))``: the health of the watchers, at ``health/``."""

from django.urls import path

from bgresults.integrations.django.views import health

app_name = "bgresults"
urlpatterns = [path("health/", health, name="health")]
