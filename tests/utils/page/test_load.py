"""Many visitors at once: every question is answered, in order of arrival, in bounded memory."""

import io
import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from tests.utils.page.client import Client, as_file, open_page
from utils.page.app import MOST_QUEUED, MOST_SESSIONS
from utils.page.uploads import MOST_FILES

# What the page may need on top of the answers that it keeps for `MOST_SESSIONS` visitors.
SLACK_BYTES, SESSION_BYTES = 150e6, 3e6


class Visitors:
    """`count` visitors who ask `questions` questions in all, each about a picture of their own."""

    def __init__(self, page, png, questions, count):
        self.page, self.png, self.questions, self.count = page, png, questions, count
        self.functions = Client(page.port).functions()
        self.arrival, self.drawn = threading.Lock(), []

    def visit(self):
        """When the answers were drawn, in nanoseconds, in the order of their questions' arrival."""
        with ThreadPoolExecutor(self.count) as pool:
            for failure in pool.map(self._ask, range(self.questions)):
                assert failure is None
        return [drawn for _, drawn in sorted(self.drawn)]

    def _ask(self, number):
        client = Client(self.page.port)  # Each with a session of its own.
        size = 600 + number
        photograph = as_file(client.upload(f"{number}.png", self.png(size, 400, number)))
        with self.arrival:
            asked = client.join([photograph, "red box", 0.35, True, 0], self.functions[5])
            mine = [len(self.drawn), None]
            self.drawn.append(mine)
        if asked[0] != 200:
            return asked
        (message,) = client.answers()
        if not message["success"] or f"pixels of {size}×400" not in message["output"]["data"][2]:
            return message
        (picture,) = re.findall('src="gradio_api/file=([^"]+)"', message["output"]["data"][1])
        mine[1] = os.stat(picture).st_mtime_ns
        if number % 3 == 0:
            client.join([None, 0.8, False, 0], self.functions[4])
            (message,) = client.answers()
            return None if message["success"] and message["output"]["data"][1] else message
        return None


def check_load(page, png, questions, count):
    Visitors(page, png, count, count).visit()  # The first questions load what all others use.
    before = page.memory
    drawn = Visitors(page, png, questions, count).visit()
    assert len(drawn) == questions
    assert drawn == sorted(drawn)
    # Each question leaves four files; what is uploaded at this moment comes on top.
    assert sum(path.is_file() for path in page.folder.rglob("*")) <= MOST_FILES + 5 * count
    assert "Traceback" not in page.log
    grown = page.memory - before
    bound = SLACK_BYTES + SESSION_BYTES * min(questions, MOST_SESSIONS)
    print(f"{questions} questions by {count} visitors: memory grew by {grown / 1e6:.0f} MB")
    assert grown <= bound, f"memory grew by {grown / 1e6:.0f} MB"


@pytest.mark.slow
def test_visitors_at_once(server, png):
    check_load(server, png, 24, 4)


@pytest.mark.soak
def test_two_hundred_questions_of_eight_visitors(run_folder, tmp_path, png):
    with open_page(run_folder, tmp_path) as page:
        check_load(page, png, 200, 8)


@pytest.mark.slow
def test_a_full_queue_says_so(server):
    clients = [Client(server.port) for _ in range(MOST_QUEUED // 8 + 2)]
    find = clients[0].functions()[5]
    plain = io.BytesIO()
    Image.new("RGB", (6000, 6000), "red").save(plain, "PNG")  # Small, but slow to answer.
    large = as_file(clients[0].upload("large.png", plain.getvalue()))
    clients[0].join([large, "red box", 0.35, True, 0], find)
    answers = [
        client.join([None, "x", 0.35, True, 0], find) for client in clients for _ in range(7)
    ]
    statuses = [status for status, _ in answers]
    assert set(statuses) == {200, 503}
    assert "Queue is full" in answers[statuses.index(503)][1]
    for client in clients:
        asked = sum(status == 200 for status in statuses[:7]) + (client is clients[0])
        statuses = statuses[7:]
        assert len(client.answers(asked) if asked else []) == asked
    assert "Choose a photograph" in clients[-1].ask(None, "x")
