"""Make the library's docstrings readable for Sphinx, and the names in them links.

They are Google's form (napoleon), with three liberties: several names may share a description among the attributes,
``As :meth:`watch`.`` among the errors refers to another list of errors, and a name of the library may stand without its
package.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sphinx.ext.napoleon import Config, GoogleDocstring

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

_CONFIG = Config(napoleon_google_docstring=True)
# What docstrings leave out in front of a name of ours.
_PACKAGES = (
    "bgresults",
    "bgresults.updates",
    "bgresults.async_updates",
    "bgresults.diagnosis.following",
    "bgresults.integrations.celery",
    "bgresults.integrations.flask",
    "bgresults.sse",
)
_SECTION = re.compile(r"(\s*)(Attributes|Raises):$")
_TYPE_OF_DEFAULT = re.compile(r"~bgresults\.[\w.]*Default\w* \| ")
_NAMES = re.compile(r"(\s+)([\w, ]+): (.*)$")


def _tidied(lines: list[str]) -> Iterator[str]:
    """The same docstring, in which napoleon finds nothing but what it knows."""
    section, margin = "", ""
    references: list[str] = []
    for line in lines:
        if begin := _SECTION.match(line):
            section, margin = begin[2], begin[1]
            if section == "Attributes":
                yield f"{margin}.. rubric:: Attributes"
                yield ""
                continue
        elif section and line and not line.startswith(f"{margin} "):
            section = ""
        if section == "Raises" and line.strip().startswith("As "):
            references.append(f"{margin}Errors: a{line.strip()[1:]}")
        elif section == "Attributes" and (names := _NAMES.match(line)) and len(names[1]) == len(margin) + 4:
            # A definition list: what follows is indented already.
            quoted = ", ".join(f"``{name}``" for name in names[2].split(", "))
            yield f"{margin}{quoted}"
            yield f"{margin}    {names[3]}"
        else:
            # The rest of such a description.
            yield line.replace(f"{margin}        ", f"{margin}    ", 1) if section == "Attributes" else line
    for reference in references:
        yield ""
        yield reference


def _read(app: Sphinx, what: str, name: str, item: Any, options: Any, lines: list[str]) -> None:
    # Of an attribute napoleon would take what is before the first colon for its type.
    kind = "method" if what in ("attribute", "data", "property") else what
    text = GoogleDocstring(list(_tidied(lines)), _CONFIG, app, kind, name, item, options)
    lines[:] = [line for line in text.lines() if line.strip() != ":raises:"]


def _plain(
    _app: Sphinx, _what: str, _name: str, _item: Any, _options: Any, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """A default that is no Python has Sphinx show the whole signature as it came; its type is nobody's business."""
    if signature is not None:
        signature = _TYPE_OF_DEFAULT.sub("", signature)
        signature = signature.replace("<default_lifetime>", "default_lifetime")
    return signature, returned


def _find(
    app: Sphinx, env: BuildEnvironment, reference: pending_xref, content: nodes.TextElement
) -> nodes.reference | None:
    """``ResultWatcher.watch`` → ``bgresults.ResultWatcher.watch``."""
    if reference.get("refdomain") != "py" or reference["reftarget"].startswith("bgresults."):
        return None
    domain = env.domains["py"]
    for package in _PACKAGES:
        target = f"{package}.{reference['reftarget']}"
        # What is a class to one may be a function, or data, to the other.
        found = domain.resolve_xref(
            env, reference["refdoc"], app.builder, reference["reftype"], target, reference, content
        )
        if found is not None:
            return found
    return None


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", _read)
    app.connect("autodoc-process-signature", _plain)
    app.connect("missing-reference", _find)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
