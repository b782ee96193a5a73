"""Reading YAML and msgpack at a cost that is in proportion to the size of the body.

Both have ways to say little and mean much. YAML merges mappings that contain merged mappings, ten times each: a few
hundred bytes stand for a power of ten. It reads ``1:1:1:…`` as a number to the base of 60, in time that grows with the
square of its length. And msgpack may announce millions of items where a few bytes follow, for which its releases before
1.2 make room at once. No worker writes such things, so they are refused. Everything else is read as kombu reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

__all__ = ["msgpack_reader", "yaml_reader"]

#: Raises anything, if the body cannot be read.
Reader = Callable[[bytes], Any]

# What may be merged in any case.
_MERGED_PAIRS: Final = 10_000
# Hours, minutes and seconds are three.
_MOST_PARTS: Final = 20


def yaml_reader() -> Reader:
    """``yaml.safe_load``, bounded. Raises ImportError."""
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        def __init__(self, body: bytes) -> None:
            super().__init__(body)
            # Without merging there are fewer pairs than bytes.
            self._pairs_left = len(body) + _MERGED_PAIRS

        def flatten_mapping(self, node: yaml.MappingNode) -> None:
            # Called for each mapping, and for each one that is merged, as often as it is.
            super().flatten_mapping(node)
            self._pairs_left -= len(node.value)
            if self._pairs_left < 0:
                raise yaml.constructor.ConstructorError(None, None, "too much is merged", node.start_mark)

        def construct_bounded_int(self, node: yaml.ScalarNode) -> int:
            if node.value.count(":") >= _MOST_PARTS:
                raise yaml.constructor.ConstructorError(None, None, "a number of too many parts", node.start_mark)
            number: int = self.construct_yaml_int(node)
            return number

    Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_bounded_int)
    return lambda body: yaml.load(body, Loader)


def msgpack_reader() -> Reader:
    """``msgpack.unpackb``, bounded. Raises ImportError."""
    import msgpack

    def read(body: bytes) -> Any:
        # Skipping makes nothing, and finds out whether there is as much as was announced.
        scanner = msgpack.Unpacker(max_buffer_size=len(body))
        scanner.feed(body)
        scanner.skip()
        return msgpack.unpackb(body, raw=False)

    return read
