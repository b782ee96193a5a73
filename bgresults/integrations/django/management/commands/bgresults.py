"""``manage.py bgresults doctor``, ``watch`` and ``stats``."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from bgresults.consumers import ConnectionLost
from bgresults.diagnosis import Diagnosis, Following, checked_health, examine, outages_told, why_unheard
from bgresults.diagnosis.settings import new_consumer
from bgresults.integrations.django.handler import DEFAULT_ALIAS, watchers
from bgresults.meta import TaskMeta
from bgresults.sse.plain_json import json_text, plain, printable, text_of
from bgresults.watcher import ResultWatcher

__all__ = ["Command"]

# Seconds that a server is given to answer.
_PATIENCE = 5.0
# As of arguments that argparse refuses.
_WRONG = 2
# Characters of a result, as JSON.
_MOST = 256 * 1024 * 1024
_SIGNS = {"ok": "ok", "note": "--", "warning": "!!", "error": "XX"}


class Command(BaseCommand):
    """Asks, watches and counts from the command line, with the settings of the project."""

    help = "Find out whether results arrive (doctor), watch tasks (watch), or count (stats)."
    # What is wrong is what the doctor is asked for.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """The three actions and their options."""
        actions = parser.add_subparsers(dest="action", required=True, metavar="doctor|watch|stats")
        common: list[tuple[str, dict[str, Any]]] = [
            ("--alias", {"help": "of BGRESULTS"}),
            ("--json", {"action": "store_true", "help": "for programs"}),
        ]

        doctor = actions.add_parser("doctor", help="try out all that a watcher needs; exit code 1 if something fails")
        doctor.add_argument("--timeout", type=float, default=_PATIENCE, help="seconds for each step [%(default)s]")
        watch = actions.add_parser(
            "watch",
            help="print the states of tasks until they end; exit code 0: all succeeded, 1: one failed, 2: wrong "
            "settings or arguments, 3: it cannot be known, 4: one was revoked, 5: no connection, 124: time was up",
        )
        watch.add_argument("ids", nargs="+", metavar="ID")
        watch.add_argument("--timeout", type=float, help="seconds for all of it [no limit]")
        stats = actions.add_parser("stats", help="connect, and print what there is to count")
        for action in (doctor, watch, stats):
            for name, options in common:
                action.add_argument(name, **options)

    def handle(self, *_: Any, **options: Any) -> None:
        """Run one of them.

        Raises:
            CommandError: the settings or the arguments make no sense.
            SystemExit: with the code that says the outcome, unless it is 0.
        """
        action: Callable[[dict[str, Any]], int] = getattr(self, f"_{options['action']}")
        try:
            code = action(options)
        except (ImproperlyConfigured, TypeError, ValueError) as error:
            raise CommandError(str(error), returncode=_WRONG) from error
        except KeyboardInterrupt:
            code = 130
        finally:
            watchers.close_all()
        if code:
            sys.exit(code)

    # -- doctor ------------------------------------------------------------------------------------------------------

    def _doctor(self, options: dict[str, Any]) -> int:
        diagnoses = {alias: examine(watchers[alias], timeout=options["timeout"]) for alias in _aliases(options)}
        if options["json"]:
            self._print_json({alias: diagnosis.as_dict() for alias, diagnosis in diagnoses.items()})
        else:
            for alias, diagnosis in diagnoses.items():
                self._print_diagnosis(alias, diagnosis)
        return max(diagnosis.exit_code for diagnosis in diagnoses.values())

    def _print_diagnosis(self, alias: str, diagnosis: Diagnosis) -> None:
        style: Any = self.style
        styles = {"ok": style.SUCCESS, "warning": style.WARNING, "error": style.ERROR}
        self.stdout.write(style.MIGRATE_HEADING(f"{alias}: {diagnosis.address}"))
        for finding in diagnosis.findings:
            painted = styles.get(finding.level, str)
            self.stdout.write(f"  {painted(_SIGNS[finding.level])} {finding.code}: {finding.text}")
            if finding.cure:
                self.stdout.write(f"     -> {finding.cure}")

    # -- watch -------------------------------------------------------------------------------------------------------

    def _watch(self, options: dict[str, Any]) -> int:
        watcher = watchers[options["alias"] or DEFAULT_ALIAS]
        following = Following(watcher, options["ids"], timeout=options["timeout"])
        if text := why_unheard(watcher):
            self.stderr.write(text)
        with outages_told(self.stderr):
            for state in following:
                self._print_state(state, as_json=options["json"])
                self.stdout.flush()
        for task_id, error in following.errors.items():
            self.stderr.write(f"{task_id}: {error}")
        if following.pending and not following.errors:
            self.stderr.write(f"time is up; not ended yet: {', '.join(following.pending)}")
        return following.exit_code

    def _print_state(self, state: TaskMeta, *, as_json: bool) -> None:
        result = state.result
        if as_json:
            shown = {"task_id": state.task_id, "status": state.status, "ready": state.ready}
            try:
                # Of a failure, the words; and never what is no JSON, such as NaN, or keys that are no text.
                shown["result"] = plain(str(result) if isinstance(result, Exception) else result, _MOST)
            except Exception as error:  # noqa: BLE001 - too large, or an exception that has no text
                shown["result"] = f"<{type(result).__name__}: {type(error).__name__}>"
            self.stdout.write(json_text(shown))
            return
        style: Any = self.style
        painted = style.SUCCESS if state.status == "SUCCESS" else style.ERROR if state.ready else str
        # What a terminal would obey is shown, wherever it comes from.
        words = [printable(text) for text in (state.task_id, state.status, text_of(result))]
        self.stdout.write(f"{words[0]} {painted(words[1])} {words[2]}")

    # -- stats -------------------------------------------------------------------------------------------------------

    def _stats(self, options: dict[str, Any]) -> int:
        style: Any = self.style
        told = {alias: _counts(watchers[alias]) for alias in _aliases(options)}
        if options["json"]:
            self._print_json(told)
        else:
            for alias, counts in told.items():
                self.stdout.write(style.MIGRATE_HEADING(f"{alias}: {counts['health']['address']}"))
                ids = counts["watched_by_all_processes"]
                self.stdout.write(f"  ids watched by all processes: {'unknown' if ids is None else ids}")
                for name, value in {**counts["health"], **counts["stats"]}.items():
                    self.stdout.write(f"  {name}: {value}")
        return 0 if all(counts["health"]["healthy"] for counts in told.values()) else 1

    def _print_json(self, value: Any) -> None:
        self.stdout.write(json.dumps(value, default=str, indent=2))


def _aliases(options: dict[str, Any]) -> list[str]:
    if options["alias"] is not None:
        return [options["alias"]]
    # Without any alias, as without that one, it is said which there are.
    return list(watchers) or [DEFAULT_ALIAS]


def _counts(watcher: ResultWatcher) -> dict[str, Any]:
    """Of this process, which has just connected for it; and what the server knows of all of them."""
    health = checked_health(watcher, _PATIENCE)
    ids = _watched_by_all(watcher) if health.connected else None
    stats = dataclasses.asdict(watcher.stats())
    return {"health": health.as_dict(), "stats": stats, "watched_by_all_processes": ids}


def _watched_by_all(watcher: ResultWatcher) -> int | None:
    consumer = new_consumer(watcher)
    if consumer.binding is not None:
        # A broker knows queues, and not what is waited for.
        return None
    from bgresults.diagnosis.redis_server import watched_ids

    try:
        return watched_ids(consumer)
    except ConnectionLost:
        return None
