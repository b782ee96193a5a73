"""What the pages answer, without a browser."""

from __future__ import annotations

import re

import pytest

from bgresults.testing import RedisServer, find_redis_server
from tests.examples.conftest import Example
from tests.examples.running import Launched
from tests.examples.visitor import Answer, Visitor
from tests.support.results import new_id
from tests.support.waiting import wait_until


def in_time(visitor: Visitor, region: str) -> Answer:
    """What the report of a region is answered with; asked for again where a busy machine takes too long for it."""
    answers: list[Answer] = []

    def there() -> bool:
        answers.append(visitor.send_form("/wait", region=region, pages=3))
        return answers[-1].status != 202

    wait_until(there, "a report that is there in time", timeout=20.0)
    return answers[-1]


def test_a_report_that_is_there_in_time(visitor: Visitor) -> None:
    answer = in_time(visitor, "North")
    assert answer.status == 200
    assert "€ 5,190" in answer.text


def test_one_that_is_not_is_a_202_with_a_link(example: Example, visitor: Visitor) -> None:
    answer = visitor.send_form("/wait", region="West", pages=20)
    assert answer.status == 202
    assert int(answer.headers["Retry-After"]) >= 1
    again = answer.headers["Location"]
    assert f'href="{again}"' in answer.text
    assert f'href="/watch/{again.rpartition("/")[2]}"' in answer.text
    wait_until(lambda: visitor.get(again).status == 200, "the report", timeout=20.0, interval=0.0)
    assert "€ 52,800" in visitor.get(again).text


def test_a_task_that_fails(visitor: Visitor) -> None:
    answer = in_time(visitor, "Atlantis")
    assert answer.status == 422
    assert "Atlantis has sent no figures since it sank" in answer.text
    assert "€" not in answer.text


@pytest.mark.parametrize("path", ["/wait", "/watch", "/compare"])
@pytest.mark.parametrize("fields", [{"region": "Nowhere", "pages": 3}, {"region": "North", "pages": "0"}, {}])
def test_a_form_that_makes_no_sense(example: Example, visitor: Visitor, path: str, fields: dict[str, object]) -> None:
    answer = visitor.send_form(path, **fields)
    assert answer.status == 400
    assert 'role="alert"' in answer.text
    assert "<form" in answer.text


@pytest.mark.parametrize("path", ["/comparison", "/comparison?North=x&East=x&South=x&West=x", "/watch/x", "/wait/x"])
def test_an_address_that_makes_no_sense(visitor: Visitor, path: str) -> None:
    assert visitor.get(path).status == 404


def test_every_page_is_for_phones_too(visitor: Visitor) -> None:
    start, progress = visitor.get("/"), visitor.get(f"/watch/{new_id()}")
    comparison = visitor.send_form("/compare", region="North", pages=1)
    for page in (start, progress, comparison):
        assert page.status == 200
        assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page.text
    for address in re.findall(r'(?:src|href)="(/static/[^"]+)"', start.text):
        assert visitor.get(address).status == 200
    assert len(re.findall('data-events="/events/', comparison.text)) == 4


@pytest.mark.skipif(find_redis_server() is None, reason="no redis-server")
@pytest.mark.parametrize("arguments", [["flask"], ["django"]], ids=" ".join)
def test_a_task_that_cannot_be_sent(arguments: list[str]) -> None:
    """Nobody is sent to a page that would wait for it for ever."""
    with RedisServer() as redis, Launched([*arguments, "--port", "0", "--redis", redis.url()]) as launched:
        visitor = Visitor(launched.serving().url)
        redis.kill()
        answers = [visitor.send_form(path, region="East", pages=3) for path in ("/wait", "/watch", "/compare")]
    assert [answer.status for answer in answers] == [503] * 3
    for answer in answers:
        assert "No worker can be reached" in answer.text
        assert re.search(r'value="East"\s+selected|<option selected>East', answer.text)
