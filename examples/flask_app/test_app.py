"""The pages without a server, a broker or a worker: ``python -m pytest examples/flask_app``."""

import uuid

import pytest

from examples.flask_app import app as pages
from examples.shared.tasks import NoFiguresError, build_report


@pytest.fixture
def client():
    return pages.app.test_client()


def test_a_report_that_is_there_in_time(client, fake_results):
    fake_results.when(build_report).runs(lambda region, pages: {"Region": region, "Pages": pages})
    answer = client.post("/wait", data={"region": "North", "pages": 3})
    assert answer.status_code == 200
    assert "<dd>North</dd>" in answer.text
    assert fake_results.sent[0].args == ["North", 3]


def test_one_that_is_not(client, fake_results, monkeypatch):
    monkeypatch.setattr(pages, "PATIENCE", 0.01)
    answer = client.post("/wait", data={"region": "West", "pages": 12})
    assert answer.status_code == 202
    fake_results.resolve(fake_results.sent[0], {"Region": "West"})
    monkeypatch.undo()
    assert "<dd>West</dd>" in client.get(answer.headers["Location"]).text


def test_one_that_fails(client, fake_results):
    fake_results.when(build_report).raises(NoFiguresError("it sank"))
    answer = client.post("/wait", data={"region": "Atlantis", "pages": 3})
    assert answer.status_code == 422
    assert "it sank" in answer.text


@pytest.mark.parametrize("path", ["/wait", "/watch", "/compare"])
def test_a_task_that_cannot_be_sent(client, fake_results, path):
    fake_results.disconnect_broker()
    answer = client.post(path, data={"region": "East", "pages": 3})
    assert answer.status_code == 503
    assert "No worker can be reached" in answer.text


def test_four_at_a_time(client, fake_results):
    answer = client.post("/compare", data={"region": "East", "pages": 3})
    assert answer.status_code == 302
    assert [task.args for task in fake_results.sent] == [["North", 3], ["East", 3], ["South", 3], ["West", 3]]
    assert all(task.id in answer.headers["Location"] for task in fake_results.sent)


def test_the_events_of_a_task(client, fake_results):
    task_id = str(uuid.uuid4())
    fake_results.progress(task_id, {"current": 1, "total": 2, "description": "Page 1 of 2"})
    events = client.get(f"/events/{task_id}").iter_encoded()
    heard = b""
    while b"Page 1 of 2" not in heard:
        heard += next(events)
    fake_results.resolve(task_id, {"Region": "North"})
    assert b"SUCCESS" in b"".join(events)
