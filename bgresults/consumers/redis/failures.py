"""What went wrong on a Redis connection, in words a user can act on."""

from __future__ import annotations

import ssl

from redis import exceptions

from bgresults.consumers.base import ConnectionLost
from bgresults.consumers.tls import CHECK_CERTIFICATES, CHECK_CLIENT_CERTIFICATE

__all__ = ["connection_lost", "is_denied", "is_sign_of_life"]

_CHECK_CREDENTIALS = "check the user name and the password, in the URL or in RedisOptions"
_CHECK_DATABASE = "name a database that the server has, such as redis://host:6379/0"
_CHECK_PERMISSIONS = (
    "the Redis user needs the commands +subscribe +unsubscribe +mget +ping (and +select for a database other than 0), "
    "the channels &*celery-task-meta-* and the keys ~*celery-task-meta-*"
)
_CHECK_MODE = (
    "this is a node of a Redis Cluster, which Celery cannot use as a result backend either: name a server that is on "
    "its own, or behind sentinels"
)
_CHECK_COMMANDS = "the server must offer SUBSCRIBE, UNSUBSCRIBE, MGET and PING under these names"
# A server that does not know a command quotes what came with it, and with AUTH that is a password.
_OUR_OWN_WORDS = ", with args beginning with"


def connection_lost(error: BaseException, address: str, *, proven: bool) -> ConnectionLost:
    """Return ``error`` as a :class:`ConnectionLost`.

    Args:
        error: what the connection raised.
        address: the URL without its password.
        proven: whether what failed here has worked before. Then even a refusal is an outage: passwords are rotated
            and rules reloaded while clients are connected. A server does not become a node of a cluster, though.
    """
    if isinstance(error, ConnectionLost):
        return error
    cure = _CHECK_MODE if _is_about_a_cluster(error) else _cure(error)
    # A node of a cluster has some of the ids, so the first ones may have worked; the others never will.
    permanent = cure is not None and (not proven or cure is _CHECK_MODE)
    words = str(error).partition(_OUR_OWN_WORDS)[0] or type(error).__name__
    return ConnectionLost(f"{address}: {words}", permanent=permanent, cure=cure)


def is_sign_of_life(error: object) -> bool:
    """Whether an error that answers a PING says nothing against subscribing and reading.

    A user may be denied the PING itself. And a server that cannot save its data refuses whatever writes, and PING.
    """
    return is_denied(error) or (
        isinstance(error, exceptions.ResponseError) and str(error).lower().startswith("misconf")
    )


def is_denied(error: object) -> bool:
    """Whether the server knows the user, and does not allow it this command, key or channel."""
    # redis-py's own parser takes the first word away and chooses a class by it.
    return isinstance(error, exceptions.NoPermissionError) or (
        isinstance(error, exceptions.ResponseError) and str(error).lower().startswith("noperm")
    )


def _cure(error: BaseException) -> str | None:
    """What to change, if trying again cannot help."""
    for link in _chain(error):
        if isinstance(link, ssl.SSLCertVerificationError):
            return CHECK_CERTIFICATES
        if isinstance(link, ssl.SSLError) and _is_about_our_certificate(str(link).lower()):
            return CHECK_CLIENT_CERTIFICATE
    if isinstance(error, exceptions.BusyLoadingError):
        # redis-py derives this one and AuthenticationError from ConnectionError: from the narrow to the wide.
        return None
    words = str(error).lower()
    if isinstance(error, exceptions.AuthenticationError) or words.startswith(("noauth", "wrongpass")):
        return _CHECK_CREDENTIALS
    if is_denied(error):
        return _CHECK_PERMISSIONS
    if isinstance(error, exceptions.ResponseError) and "unknown command" in words:
        return _CHECK_COMMANDS
    if isinstance(error, exceptions.ResponseError) and (
        "db index" in words or "invalid db" in words or "select is not allowed" in words
    ):
        return _CHECK_DATABASE
    return None


def _is_about_a_cluster(error: object) -> bool:
    """Whether the server has only some of the keys: MOVED, CROSSSLOT and the like."""
    return isinstance(error, (exceptions.ClusterError, exceptions.ClusterCrossSlotError)) or (
        isinstance(error, exceptions.ResponseError)
        and str(error).lower().startswith(("moved ", "ask ", "crossslot ", "clusterdown "))
    )


def _is_about_our_certificate(words: str) -> bool:
    """Whether the server turned our own certificate down, in the words of OpenSSL."""
    return "alert" in words and ("certificate" in words or "unknown_ca" in words or "unknown ca" in words)


def _chain(error: BaseException) -> list[BaseException]:
    """``error`` and what it was raised for. redis-py wraps what the socket and the TLS library raised."""
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in found:
        found.append(current)
        current = current.__cause__ or current.__context__
    return found
