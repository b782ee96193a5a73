"""Applications to start, look at and copy from: ``make example-django``, ``example-flask``, ``example-script``."""
