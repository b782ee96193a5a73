"""The library's figures, each beside Celery's own."""
