"""The pages without a server, a broker or a worker: ``python manage.py test``."""

import uuid
from contextlib import ExitStack
from unittest import mock

from django.test import SimpleTestCase

from bgresults.testing import FakeResults
from examples.shared.tasks import NoFiguresError, build_report

from . import views


class PagesTest(SimpleTestCase):
    def setUp(self):
        stack = ExitStack()
        self.addCleanup(stack.close)
        self.fake_results = stack.enter_context(FakeResults())

    def test_a_report_that_is_there_in_time(self):
        self.fake_results.when(build_report).runs(lambda region, pages: {"Region": region, "Pages": pages})
        answer = self.client.post("/wait", {"region": "North", "pages": 3})
        self.assertContains(answer, "<dd>North</dd>", html=True)
        self.assertEqual(self.fake_results.sent[0].args, ["North", 3])

    def test_one_that_is_not(self):
        with mock.patch.object(views, "PATIENCE", 0.01):
            answer = self.client.post("/wait", {"region": "West", "pages": 12})
        self.assertEqual(answer.status_code, 202)
        self.fake_results.resolve(self.fake_results.sent[0], {"Region": "West"})
        self.assertContains(self.client.get(answer["Location"]), "<dd>West</dd>", html=True)

    def test_one_that_fails(self):
        self.fake_results.when(build_report).raises(NoFiguresError("it sank"))
        answer = self.client.post("/wait", {"region": "Atlantis", "pages": 3})
        self.assertContains(answer, "it sank", status_code=422)

    def test_a_task_that_cannot_be_sent(self):
        self.fake_results.disconnect_broker()
        for path in ("/wait", "/watch", "/compare"):
            answer = self.client.post(path, {"region": "East", "pages": 3})
            self.assertContains(answer, "No worker can be reached", status_code=503)

    def test_four_at_a_time(self):
        answer = self.client.post("/compare", {"region": "East", "pages": 3})
        self.assertEqual([task.args[0] for task in self.fake_results.sent], ["North", "East", "South", "West"])
        for task in self.fake_results.sent:
            self.assertIn(task.id, answer["Location"])

    def test_the_events_of_a_task(self):
        task_id = str(uuid.uuid4())
        self.fake_results.progress(task_id, {"current": 1, "total": 2, "description": "Page 1 of 2"})
        events = iter(self.client.get(f"/events/{task_id}").streaming_content)
        heard = b""
        while b"Page 1 of 2" not in heard:
            heard += next(events)
        self.fake_results.resolve(task_id, {"Region": "North"})
        self.assertIn(b"SUCCESS", b"".join(events))

    def test_health_in_an_outage(self):
        self.assertEqual(self.client.get("/bgresults/health/").status_code, 200)
        self.fake_results.disconnect()
        self.assertEqual(self.client.get("/bgresults/health/").status_code, 503)
        self.fake_results.reconnect()
        self.assertEqual(self.client.get("/bgresults/health/").status_code, 200)
