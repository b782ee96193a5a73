"""What went wrong between us and a broker, in words a user can act on."""

from __future__ import annotations

import re
import ssl

from amqp import exceptions

from bgresults.consumers.base import ConnectionLost
from bgresults.consumers.tls import CHECK_CERTIFICATES, CHECK_CLIENT_CERTIFICATE

__all__ = ["connection_lost", "made_otherwise", "other_reply_queue", "out_of_reach"]

_CHECK_CREDENTIALS = "check the user name and the password, in the URL or in AMQPOptions"
_CHECK_VIRTUAL_HOST = (
    "name a virtual host that the broker has and that the user may use, such as amqp://host:5672/name; "
    "the default one, '/', is written as '//' or as nothing"
)
_CHECK_PERMISSIONS = "the user needs the permissions to configure and to read its reply queues"
_CHECK_ARGUMENTS = (
    "check queue_type and queue_expires in AMQPOptions, and the policies of the broker; a queue of that name that was "
    "made with other arguments cannot be used"
)
# RabbitMQ, of a queue that is there: its node is down, or going down; its process failed, or does not answer.
_OUT_OF_REACH = (
    "is down or inaccessible",
    "is stopped by supervisor",
    "failed to restart",
    "failed to perform operation",
)


# RabbitMQ compares durable and auto_delete first, then x-expires, then the other arguments, and names the first
# difference. What it says ends after 255 bytes.
_OTHER_REPLY_QUEUE = re.compile(
    r"[^']*inequivalent arg 'x-(?:expires' .* but current is '\d+'\Z|(?!expires'))", re.DOTALL
)


def connection_lost(error: BaseException, address: str, *, proven: bool) -> ConnectionLost:
    """Return ``error`` as a :class:`ConnectionLost`.

    Args:
        error: what the connection raised.
        address: the URL without its password.
        proven: whether connecting and consuming have worked before. Then even a refusal is an outage: passwords are
            rotated, and permissions changed, while clients are connected.
    """
    if isinstance(error, ConnectionLost):
        return error
    cure = _cure(error)
    return ConnectionLost(f"{address}: {_words(error)}", permanent=cure is not None and not proven, cure=cure)


def out_of_reach(words: str) -> bool:
    """Whether a "not found" means that the queue cannot be used now, and not that it was deleted."""
    return any(fragment in words for fragment in _OUT_OF_REACH)


def other_reply_queue(words: str) -> bool:
    """Whether a queue that was made with other arguments (406) is one for replies all the same.

    Those are durable and expire. Others belong to somebody who has not given them to us: queues with tasks in them, and
    mailboxes of workers.
    """
    return _OTHER_REPLY_QUEUE.match(words) is not None


def made_otherwise(error: BaseException) -> bool:
    """Whether a queue could not be declared because there is one for replies already, made with other arguments."""
    return isinstance(error, exceptions.PreconditionFailed) and other_reply_queue(_words(error))


def _words(error: BaseException) -> str:
    """What the broker said, without the numbers of its protocol."""
    if isinstance(error, exceptions.AMQPError) and getattr(error, "reply_text", None):
        return str(error.reply_text)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__


def _cure(error: BaseException) -> str | None:
    """What to change, if trying again cannot help."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return CHECK_CERTIFICATES
    if isinstance(error, ssl.SSLError) and "alert" in str(error).lower():
        return CHECK_CLIENT_CERTIFICATE
    if isinstance(error, exceptions.AccessRefused):
        return _CHECK_CREDENTIALS if "login" in str(error).lower() else _CHECK_PERMISSIONS
    if isinstance(error, exceptions.NotAllowed):
        # "connection limit (100) is reached": that passes.
        return None if "limit (" in str(error) else _CHECK_VIRTUAL_HOST
    if isinstance(error, exceptions.PreconditionFailed):
        return _CHECK_ARGUMENTS
    return None
