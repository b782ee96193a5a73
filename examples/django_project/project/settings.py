"""For development: what goes on the internet needs a key and ALLOWED_HOSTS of its own, and DEBUG off."""

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parent
REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")

INSTALLED_APPS = ["django.contrib.staticfiles", "bgresults.integrations.django"]
BGRESULTS = {"default": {"CELERY_APP": "project.celery:app"}}
CELERY_BROKER_URL = CELERY_RESULT_BACKEND = REDIS_URL
CELERY_RESULT_BACKEND_ALWAYS_RETRY = True  # A worker keeps a result while Redis is away.

DEBUG = True
SECRET_KEY = "of an example"
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
TIME_ZONE = "UTC"
USE_TZ = True  # As it is by default, from Django 5.0 on.
ROOT_URLCONF = "project.urls"
WSGI_APPLICATION = "project.wsgi.application"
ASGI_APPLICATION = "project.asgi.application"
MIDDLEWARE = ["django.middleware.common.CommonMiddleware", "django.middleware.csrf.CsrfViewMiddleware"]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [PROJECT / "templates"],
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]
STATIC_URL = "static/"
STATICFILES_DIRS = [PROJECT.parent.parent / "shared" / "static"]
