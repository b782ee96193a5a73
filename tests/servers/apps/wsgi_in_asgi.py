"""The Flask application, for a server that speaks ASGI."""

from typing import Any

from a2wsgi import WSGIMiddleware

from tests.servers.apps.flask_app import app as wsgi_app

# The two type the environment of a request differently.
_app: Any = wsgi_app
app = WSGIMiddleware(_app, workers=16)
