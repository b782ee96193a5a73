"""Celery's own integration tests as the judge of the drop-in: ``python -m tests.celery_suite``."""
