"""The public names, their arguments and their members are those that are written down."""

from __future__ import annotations

import difflib
import pkgutil

import bgresults
from tests import public_api

#: Packages that nobody is meant to import: parts of the commands, and what others are made of.
PRIVATE = {
    "bgresults.benchmarking",
    "bgresults.cli",
    "bgresults.demo",
    "bgresults.integrations",
    "bgresults.integrations.celery.dropin",
    "bgresults.integrations.django.management",
    "bgresults.integrations.django.management.commands",
    "bgresults.status",
}


def test_nothing_has_changed_unnoticed() -> None:
    before, now = public_api.FILE.read_text(), public_api.described()
    difference = "\n".join(difflib.unified_diff(before.splitlines(), now.splitlines(), "before", "now", lineterm=""))
    assert before == now, f"if this is meant, write it down with `make api`, and in CHANGELOG.md:\n{difference}"


def test_every_package_is_public_or_private() -> None:
    found = {module.name for module in pkgutil.walk_packages(bgresults.__path__, "bgresults.") if module.ispkg}
    found.update(
        f"bgresults.integrations.{module.name}"
        for module in pkgutil.iter_modules([f"{path}/integrations" for path in bgresults.__path__])
    )
    assert found - PRIVATE <= set(public_api.PUBLIC)
    assert found >= PRIVATE
