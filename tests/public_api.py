"""What users may build on, name by name: ``python -m tests.public_api`` writes it to ``tests/public_api.txt``.

A test compares the two, so that nothing of it changes unnoticed; what may change, and when, says docs/support.md.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["FILE", "PUBLIC", "described"]

FILE = Path(__file__).with_suffix(".txt")
#: The modules whose ``__all__`` is meant for users. All others are the library's own.
PUBLIC = (
    "bgresults",
    "bgresults.async_updates",
    "bgresults.consumers",
    "bgresults.consumers.redis",
    "bgresults.consumers.rpc",
    "bgresults.diagnosis",
    "bgresults.integrations.celery",
    "bgresults.integrations.django",
    "bgresults.integrations.flask",
    "bgresults.integrations.gunicorn",
    "bgresults.integrations.opentelemetry",
    "bgresults.integrations.prometheus",
    "bgresults.sse",
    "bgresults.testing",
    "bgresults.testing.http_load",
    "bgresults.testing.web",
    "bgresults.updates",
)
#: What a class may be used for without a name.
USES = frozenset(
    ["__aiter__", "__anext__", "__call__", "__enter__", "__exit__", "__getitem__", "__iter__", "__len__", "__next__"]
)
# Of a function as a default value.
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class _Annotation:
    """Shown as it is written: Pythons differ in whether they put quotes around it."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def described() -> str:
    """All public modules, one line for each name, and for each member of a class."""
    modules = [importlib.import_module(name) for name in PUBLIC]
    classes = {
        value for module in modules for name in module.__all__ if inspect.isclass(value := getattr(module, name))
    }
    lines = [line for module in modules for line in ("", module.__name__, *_module(module, classes))]
    return "\n".join([*lines[1:], ""])


def _module(module: ModuleType, classes: set[type]) -> Iterator[str]:
    for name in sorted(module.__all__):
        yield from _name(name, getattr(module, name), classes)


def _name(name: str, value: Any, classes: set[type]) -> Iterator[str]:
    if inspect.isclass(value):
        bases = ", ".join(base.__name__ for base in value.__bases__)
        yield f"    class {name}({bases}){_signature(value) if '__init__' in vars(value) else ''}"
        yield from _members(value, classes)
    elif inspect.isroutine(value):
        yield f"    {_definition(name, value)}"
    else:
        yield f"    {name}: {value if type(value).__module__ == 'typing' else type(value).__name__}"


def _members(cls: type, classes: set[type]) -> Iterator[str]:
    """Its own, and those of its bases that are told of nowhere else."""
    told = {other for base in cls.__mro__ if base is not cls and base in classes for other in base.__mro__}
    ours = [base for base in cls.__mro__ if base.__module__.partition(".")[0] == "bgresults" and base not in told]
    annotated = {name: text for base in reversed(ours) for name, text in inspect.get_annotations(base).items()}
    names = {name for base in ours for name in vars(base)} | set(annotated)
    for name in sorted(name for name in names if name in USES or not name.startswith("_")):
        value = inspect.getattr_static(cls, name, None)
        if isinstance(value, property):
            yield f"        {name} -> {inspect.signature(value.fget).return_annotation}"  # type: ignore[arg-type]
        elif isinstance(value, (classmethod, staticmethod)) or inspect.isfunction(value):
            kind = "" if inspect.isfunction(value) else f"{type(value).__name__} "
            yield f"        {kind}{_definition(name, getattr(cls, name))}"
        elif isinstance(value, Enum):
            yield f"        {name} = {value.value!r}"
        elif name in annotated:
            yield f"        {name}: {annotated[name]}"
        else:
            yield f"        {name}"


def _definition(name: str, function: Any) -> str:
    return f"{'async ' if inspect.iscoroutinefunction(function) else ''}def {name}{_signature(function)}"


def _signature(function: Any) -> str:
    try:
        found = inspect.signature(function)
    except ValueError:
        return "(…)"
    parameters = [parameter.replace(annotation=_shown(parameter)) for parameter in found.parameters.values()]
    returned = found.return_annotation
    if isinstance(returned, str):
        returned = _Annotation(returned)
    return _ADDRESS.sub("", str(found.replace(parameters=parameters, return_annotation=returned)))


def _shown(parameter: inspect.Parameter) -> Any:
    return _Annotation(parameter.annotation) if isinstance(parameter.annotation, str) else parameter.annotation


if __name__ == "__main__":
    FILE.write_text(described())
    print(f"{FILE} is up to date")
