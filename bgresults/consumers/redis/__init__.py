"""Task results in a Redis server: stored under a key, and published on a channel of the same name."""

from bgresults.consumers.redis.consumer import ResultConsumer

__all__ = ["ResultConsumer"]
