"""kombu's serializers: which there are, and reading with them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from kombu import serialization as _serialization

from bgresults.bounded_reading import msgpack_reader, yaml_reader

__all__ = ["DECODERS", "JSON", "KOMBU_JSON", "content_type_of", "loads"]

JSON: Final = "application/json"

# kombu's functions have no annotations; these names tell mypy so.
_dumps: Callable[..., Any] = _serialization.dumps
_loads: Callable[..., Any] = _serialization.loads

#: The registry's own table, read at every message: who registers another decoder later is obeyed at once. kombu may
#: rename it one day; then nothing is found here, and every message takes kombu's own way.
DECODERS: Final[Mapping[str, Any]] = getattr(_serialization.registry, "_decoders", {})


def _kombus_own(content_type: str, *modules: str) -> object:
    decoder = DECODERS.get(content_type)
    # An object of its own is no decoder, and not what a look-up of a missing one gives.
    return decoder if getattr(decoder, "__module__", None) in modules else object()


#: kombu's decoder of JSON, if that is what is registered.
KOMBU_JSON: Final = _kombus_own(JSON, "kombu.utils.json")


def _bounded() -> dict[str, tuple[object, Callable[[bytes], Any]]]:
    """Content type → kombu's own decoder, and what reads the same."""
    found = {}
    for content_type, make_reader in (("application/x-yaml", yaml_reader), ("application/x-msgpack", msgpack_reader)):
        try:
            found[content_type] = _kombus_own(content_type, "kombu.serialization", "yaml"), make_reader()
        except ImportError:
            # What kombu has in its place says so.
            continue
    return found


_BOUNDED: Final = _bounded()


def loads(payload: bytes, content_type: str, content_encoding: str | None, accept: Collection[str]) -> Any:
    """As ``kombu.serialization.loads``, at a bounded cost where that can be had. Raises anything."""
    own, read = _BOUNDED.get(content_type, (None, None))
    if read is not None and payload and DECODERS.get(content_type) is own:
        return read(payload)
    return _loads(payload, content_type, content_encoding, accept=accept)


def content_type_of(serializer: str) -> str:
    """The content type of a serializer that works here, by name or content type. Raises TypeError, ValueError."""
    if not isinstance(serializer, str):
        raise TypeError(f"accept holds names such as 'json', not {type(serializer).__name__}")
    registry = _serialization.registry
    name = registry.type_to_name.get(serializer, serializer)
    if name not in registry.name_to_type:
        raise ValueError(f"unknown serializer {serializer!r}; allowed: {_installed()}")
    try:
        # Writing is the one public way to learn that the library behind a registered name is there.
        content_type: str = _dumps({}, serializer=name)[0]
        return content_type
    except Exception as exc:
        raise ValueError(f"serializer {serializer!r} is not installed ({exc}); allowed: {_installed()}") from exc


def _installed() -> str:
    working = []
    for name in sorted(_serialization.registry.name_to_type):
        try:
            _dumps({}, serializer=name)
        except Exception:  # noqa: BLE001 - only those that work are worth a mention
            continue
        working.append(name)
    return ", ".join(working)
