"""Task results as replies: messages on a queue of a broker."""

from bgresults.consumers.rpc.consumer import ResultConsumer

__all__ = ["ResultConsumer"]
