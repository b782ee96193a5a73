"""The app: ``"bgresults.integrations.django"`` in ``INSTALLED_APPS``."""

from django.apps import AppConfig

__all__ = ["BGResultsConfig"]


class BGResultsConfig(AppConfig):
    """Registers system checks, and does nothing else: no thread, no connection, no import of the Celery application."""

    name = "bgresults.integrations.django"
    label = "bgresults"
    verbose_name = "bgresults"

    def ready(self) -> None:
        from bgresults.integrations.django.checks import register_checks

        register_checks()
