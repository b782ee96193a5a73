"""Somebody who asks for pages without a browser, fills in the form, and keeps cookies."""

from __future__ import annotations

import http.cookiejar
import re
import urllib.error
import urllib.request
from email.message import Message
from typing import NamedTuple
from urllib.parse import urlencode

__all__ = ["Answer", "Visitor"]

_HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)"')


class Answer(NamedTuple):
    """Of a web server, after redirects."""

    status: int
    headers: Message
    text: str
    url: str


class Visitor:
    """One, at the address of an example."""

    def __init__(self, url: str) -> None:
        self._url = url
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), cookies)

    def get(self, path: str) -> Answer:
        """Ask for a page."""
        return self._ask(urllib.request.Request(self._url + path))

    def send_form(self, path: str, **fields: object) -> Answer:
        """Open the form, fill it in, and press the button that leads to ``path``."""
        hidden = dict(_HIDDEN.findall(self.get("/").text))
        return self._ask(urllib.request.Request(self._url + path, urlencode({**hidden, **fields}).encode()))

    def _ask(self, request: urllib.request.Request) -> Answer:
        try:
            response = self._opener.open(request, timeout=30)
        except urllib.error.HTTPError as error:
            response = error
        with response:
            return Answer(response.status, response.headers, response.read().decode(), response.url)
