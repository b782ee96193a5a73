"""A Django project whose pages wait for Celery tasks, or watch them. ``make example-django`` starts it."""

from .celery import app as celery_app

__all__ = ["celery_app"]
