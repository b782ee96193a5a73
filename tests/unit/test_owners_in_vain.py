"""Owners of servers that do not come up, or are asked for what they cannot do: each says why."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bgresults.testing import RabbitMQServer, RedisServer, SentinelTrio, find_rabbitmq, find_redis_server, rabbitmq
from bgresults.testing.epmd import Epmd

needs_redis = pytest.mark.skipif(find_redis_server() is None, reason="no redis-server")
needs_epmd = pytest.mark.skipif(not Epmd.available(), reason="no epmd, which comes with Erlang")


class TestSentinels:
    def test_not_started(self) -> None:
        trio = SentinelTrio()
        with pytest.raises(RuntimeError, match="no sentinel is running"):
            _ = trio.master
        assert trio.url() == "sentinel:///0?master_name=mymaster"

    def test_a_partition_needs_a_password(self) -> None:
        """Without one everybody is somebody."""
        with pytest.raises(RuntimeError, match=r"SentinelTrio\(password=…\)"):
            SentinelTrio().isolate(RedisServer())

    @needs_redis
    def test_they_do_not_find_each_other_in_time(self) -> None:
        trio = SentinelTrio(start_timeout=0.0)
        with pytest.raises(RuntimeError, match="in vain for servers and sentinels to find each other"):
            trio.start()
        assert not any(one.running for one in [*trio.servers, *trio.sentinels])


class TestRabbitMQ:
    @pytest.fixture
    def program(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """What takes the place of rabbitmq-server, found on PATH."""
        monkeypatch.setattr(rabbitmq, "_PACKAGED", tmp_path / "none")
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        assert shutil.which("rabbitmq-server", path=str(tmp_path)) is None
        return tmp_path / "rabbitmq-server"

    def test_found_on_the_path(self, program: Path) -> None:
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        assert find_rabbitmq() == program.parent.resolve()

    @needs_epmd
    @pytest.mark.parametrize(
        ("script", "words"),
        [
            ("echo '[error] out of disk'; echo more; exit 3", r"ended with code 3:\n\[error\] out of disk$"),
            ("echo nothing is wrong; exit 1", r"ended with code 1:\nnothing is wrong$"),
        ],
    )
    def test_a_node_that_does_not_start(self, program: Path, script: str, words: str) -> None:
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        node = RabbitMQServer()
        try:
            with pytest.raises(RuntimeError, match=words):
                node.start()
            assert not node.running
            with pytest.raises(RuntimeError, match=r"first start\(\)"):
                _ = node.port
        finally:
            node.close()
