"""The Celery application: ``celery -A project worker``."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
app = Celery("project", include=["examples.shared.tasks"])
app.config_from_object("django.conf:settings", namespace="CELERY")
app.set_default()  # What @shared_task means in every thread.
