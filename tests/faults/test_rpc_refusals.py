"""A broker that says no: for good before the first success, with the cure; and an outage after it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from bgresults import AMQPOptions, BackendUnavailableError, ResultWatcher
from bgresults.testing import RabbitMQServer
from tests.support import wait_until
from tests.support.broker import ReplyWriter
from tests.support.logs import Told
from tests.support.results import new_id
from tests.support.rpc_lines import QUICK, RECOVERED, WAIT, shared_node

# Each command of an administrator starts a program that takes seconds, and on a busy machine many.
pytestmark = [pytest.mark.rabbitmq, pytest.mark.timeout(300)]

SECRET = "wrong-s3cret"


@pytest.fixture
def node() -> RabbitMQServer:
    return shared_node()


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Told:
    return Told(caplog)


@pytest.fixture
def user(node: RabbitMQServer) -> Iterator[str]:
    """``app`` with the password ``secret``, who may do everything on the virtual host ``place``."""
    node.control("add_vhost", "place")
    node.control("add_user", "app", "secret")
    node.control("set_permissions", "-p", "place", "app", ".*", ".*", ".*")
    yield "app:secret"
    node.control("delete_user", "app")
    node.control("delete_vhost", "place")


def resolves(watcher: ResultWatcher, writer: ReplyWriter) -> None:
    future = watcher.watch(new_id())
    writer.write(watcher.reply_to, future.task_id, "resolved")
    assert future.result(WAIT) == "resolved"


def is_refused(watcher: ResultWatcher, words: str, cure: str) -> None:
    """For good: at once, with the broker's words and what to do."""
    future = watcher.watch(new_id())
    error = future.exception(WAIT)
    assert isinstance(error, BackendUnavailableError)
    assert words in str(error)
    assert cure in str(error)
    with pytest.raises(BackendUnavailableError, match=cure):
        watcher.wait_ready(WAIT)
    with pytest.raises(BackendUnavailableError, match=cure):
        _ = watcher.reply_to
    assert watcher.watch(new_id()).done()
    assert watcher.stats().state == "failed"
    assert SECRET not in f"{error} {error!r} {watcher!r}"


class TestBeforeTheFirstSuccess:
    def test_a_wrong_password(self, node: RabbitMQServer, told: Told) -> None:
        with ResultWatcher(node.url(login=f"guest:{SECRET}"), retry=QUICK) as watcher:
            is_refused(watcher, "Login was refused", "password")
        with ResultWatcher(node.url(), amqp=AMQPOptions(username="nobody", password=SECRET), retry=QUICK) as watcher:
            is_refused(watcher, "Login was refused", "password")
        assert SECRET not in told.text

    def test_no_such_virtual_host(self, node: RabbitMQServer) -> None:
        with ResultWatcher(node.url(virtual_host="nowhere"), retry=QUICK) as watcher:
            is_refused(watcher, "nowhere", "virtual host")

    @pytest.mark.slow
    def test_a_virtual_host_of_others(self, node: RabbitMQServer, user: str) -> None:
        with ResultWatcher(node.url(login=user), retry=QUICK) as watcher:
            is_refused(watcher, "refused for user 'app'", "virtual host")

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("rights", "options"),
        [
            (("", ".*", ".*"), {}),
            ((".*", ".*", ""), {}),
            (("^another", "^another", "^another"), {}),
            (("", "", ""), {"binding": "process", "no_ack": True}),
        ],
        ids=["configure", "read", "other names", "nothing"],
    )
    def test_permissions(
        self, node: RabbitMQServer, user: str, rights: tuple[str, str, str], options: dict[str, Any]
    ) -> None:
        node.control("set_permissions", "-p", "place", "app", *rights)
        url = node.url(login=user, virtual_host="place")
        with ResultWatcher(url, amqp=AMQPOptions(**options), retry=QUICK) as watcher:
            is_refused(watcher, "refused for user 'app'", "permissions to configure and to read")
            node.control("set_permissions", "-p", "place", "app", "^bgresults", "", "^bgresults")
            wait_until(lambda: not watcher.watch("id").done(), "the probe that a watch asks for", WAIT)
            writer = ReplyWriter(node.url(virtual_host="place").replace("guest:guest", "app:secret"))
            node.control("set_permissions", "-p", "place", "app", "^bgresults", "amq.default", "^bgresults")
            assert watcher.wait_ready(WAIT)
            resolves(watcher, writer)
            writer.close()

    @pytest.mark.slow
    def test_too_many_connections_will_pass(self, node: RabbitMQServer, user: str, told: Told) -> None:
        """The same kind of answer as that for a wrong virtual host, and yet nothing that anybody has to change."""
        node.control("set_vhost_limits", "-p", "place", '{"max-connections": 0}')
        with ResultWatcher(node.url(login=user, virtual_host="place"), retry=QUICK) as watcher:
            future = watcher.watch(new_id())
            wait_until(lambda: told.levels == ["WARNING"], "the refusal")
            assert not future.done()
            node.control("clear_vhost_limits", "-p", "place")
            assert watcher.wait_ready(RECOVERED)
            assert not future.done()
            told.just("WARNING", "INFO")


@pytest.mark.slow
class TestAfterIt:
    """It has worked, so it may work again: attempts go on without end."""

    @pytest.mark.parametrize("on_disconnect", ["wait", "fail"])
    def test_a_password_that_was_rotated(self, node: RabbitMQServer, user: str, told: Told, on_disconnect: Any) -> None:
        url = node.url(login=user, virtual_host="place")
        writer = ReplyWriter(url)
        with ResultWatcher(url, retry=QUICK, on_disconnect=on_disconnect) as watcher:
            future = watcher.watch(new_id())
            assert watcher.wait_ready(WAIT)
            node.control("change_password", "app", SECRET)
            assert node.close_connections("bgresults") == 1
            wait_until(lambda: told.levels == ["WARNING"], "the outage")
            if on_disconnect == "fail":
                assert isinstance(future.exception(WAIT), BackendUnavailableError)
            assert not watcher.wait_ready(0.5)
            assert watcher.stats().state != "failed"
            assert future.done() == (on_disconnect == "fail")
            node.control("change_password", "app", "secret")
            assert watcher.wait_ready(RECOVERED)
            resolves(watcher, writer)
            if on_disconnect == "wait":
                writer.write(watcher.reply_to, future.task_id, "kept")
                assert future.result(WAIT) == "kept"
            told.just("WARNING", "INFO")
            assert watcher.stats().reconnects == 1
            assert watcher.stats().queues_lost == 0
            assert SECRET not in told.text
        writer.close()

    def test_rights_that_were_taken_away(self, node: RabbitMQServer, user: str, told: Told) -> None:
        url = node.url(login=user, virtual_host="place")
        with ResultWatcher(url, retry=QUICK) as watcher:
            future = watcher.watch(new_id())
            assert watcher.wait_ready(WAIT)
            node.control("set_permissions", "-p", "place", "app", "", "", "")
            assert node.close_connections("bgresults") == 1
            wait_until(lambda: told.levels == ["WARNING"], "the outage")
            assert not watcher.wait_ready(0.5)
            assert watcher.stats().state != "failed"
            node.control("set_permissions", "-p", "place", "app", ".*", ".*", ".*")
            assert watcher.wait_ready(RECOVERED)
            writer = ReplyWriter(url)
            writer.write(watcher.reply_to, future.task_id, "kept")
            assert future.result(WAIT) == "kept"
            assert watcher.stats().queues_lost == 0
            writer.close()

    def test_a_virtual_host_that_was_made_anew(self, node: RabbitMQServer, user: str, told: Told) -> None:
        """With everything that was in it."""
        url = node.url(login=user, virtual_host="place")
        with ResultWatcher(url, retry=QUICK) as watcher:
            future = watcher.watch(new_id())
            assert watcher.wait_ready(WAIT)
            node.control("delete_vhost", "place")
            wait_until(lambda: "WARNING" in told.levels, "the outage", WAIT)
            assert not watcher.wait_ready(0.5)
            assert watcher.stats().state != "failed"
            node.control("add_vhost", "place")
            node.control("set_permissions", "-p", "place", "app", ".*", ".*", ".*")
            assert watcher.wait_ready(RECOVERED)
            assert watcher.stats().queues_lost == 1
            writer = ReplyWriter(url)
            writer.write(watcher.reply_to, future.task_id, "sent again")
            assert future.result(WAIT) == "sent again"
            writer.close()
