"""How Sphinx makes the pages of this folder into a site: ``make docs``."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import bgresults

if TYPE_CHECKING:
    from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "bgresults"
author = "bgresults contributors"
project_copyright = author
release = version = bgresults.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "docstrings", "sphinx_copybutton"]

# -- pages -------------------------------------------------------------------------------------------------------------

# For links to a heading, as code hosts make them.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "html_image"]

# Blocks that do not say what they are.
highlight_language = "none"

html_theme = "furo"
html_title = f"bgresults {release}"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_show_sourcelink = False
html_copy_source = False
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

# -- the reference -----------------------------------------------------------------------------------------------------

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88

# Every name in the reference has to lead somewhere. These lead to other libraries, or are for the type checker alone.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(asyncio|collections\.abc|concurrent\.futures|os|pathlib|threading|typing|uuid)\..*"),
    (r"py:.*", r"(celery|django|flask|kombu|opentelemetry|prometheus_client|redis|typing_extensions)\..*"),
    (r"py:.*", r"CancelledError|ImproperlyConfigured|ManyTasks|OneTask|ResultFunction|Self|SomeTasks|TaskId"),
    (r"py:class", r"bgresults\.(consumers\.base\.WakeupSource|stats\.Counters|task_ids\.HasId|testing\.rules\.Rules)"),
    # Described in the text of its class.
    (r"py:attr", r"futures"),
]

# Links that a code host follows out of this folder: on the site they lead to a page, and of a folder to a file in it.
_ELSEWHERE = {
    "../README.md": "index.md",
    "../SECURITY.md": "security.md",
    "../CHANGELOG.md": "changelog.md",
    "../benchmarks": "../benchmarks/__main__.py",
    "../examples": "../examples/launch.py",
}


# "[amqp.md](amqp.md#what-can-be-lost)": a code host shows the file, the site the title of the page, or the heading.
_FILE_NAME = re.compile(r"\[[\w-]+\.md\]\(([\w./-]+\.md(?:#[\w-]+)?)\)")


def _redirect(_app: Sphinx, _page: str, source: list[str]) -> None:
    for target, here in _ELSEWHERE.items():
        source[0] = re.sub(rf"\]\({re.escape(target)}(?=[#)])", f"]({here}", source[0])
    source[0] = _FILE_NAME.sub(r"[](\1)", source[0])


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _redirect)
