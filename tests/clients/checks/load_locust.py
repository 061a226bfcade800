"""Locust, headless, by a small locustfile."""

import json
import os
import sys
import tempfile
from importlib.metadata import version as version_of
from pathlib import Path

from check import PAIR, check, command, version

version(version_of("locust"))
LOCUSTFILE = """
from locust import HttpUser, constant, task

class Reader(HttpUser):
    wait_time = constant(0.1)

    @task
    def chat(self):
        body = {"messages": [{"role": "user", "content": "Name a colour."}], "max_tokens": 6}
        with self.client.post("/v1/chat/completions", json=body, catch_response=True) as answer:
            if answer.json()["usage"]["completion_tokens"] > 6:
                answer.failure("more tokens than asked for")

    @task
    def stream(self):
        body = {"prompt": "Once upon a time", "max_tokens": 6, "stream": True}
        with self.client.post("/v1/completions", json=body, stream=True, catch_response=True) as answer:
            lines = [line for line in answer.iter_lines() if line]
            if lines[-1] != b"data: [DONE]":
                answer.failure(f"the stream ends with {lines[-1]}")

    @task
    def models(self):
        self.client.get("/v1/models")
"""


@check("headless, 4 users, 8 s: chat, a stream, models")
def _():
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "locustfile.py")
        script.write_text(LOCUSTFILE)
        os.chdir(folder)
        # It exits with 1 when any request failed.
        command(sys.executable, "-m", "locust", "-f", script, "--headless", "--users", 4, "--spawn-rate", 4,
                "--run-time", "8s", "--host", PAIR.http, "--json-file", "found", "--only-summary")
        rows = {row["name"]: row for row in json.loads(Path("found.json").read_text())}
        assert len(rows) == 3 and all(row["num_requests"] > 0 for row in rows.values()), rows
