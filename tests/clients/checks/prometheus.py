"""Prometheus scrapes both services and answers queries; promtool checks both pages."""

import json
import socket
import subprocess
import tempfile
import time
import urllib.parse
from pathlib import Path

from check import PAIR, check, command, equal, get, post, version

PROMETHEUS, PROMTOOL = (Path(PAIR.tools) / name for name in ("prometheus", "promtool"))
PAGES = {"worker": f"{PAIR.http}/metrics", "predictor": f"{PAIR.predictor_metrics}/metrics"}
CONFIG = {
    "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
    "scrape_configs": [
        {"job_name": name, "static_configs": [{"targets": [urllib.parse.urlsplit(page).netloc]}]}
        for name, page in PAGES.items()
    ],
}
PATIENCE = 40

version(command(PROMETHEUS, "--version").split("version ")[1].split()[0])


def of_page(name, page):
    @check(f"promtool check metrics, {name}")
    def _():
        headers, text = get(page, "text/plain")
        equal(headers["content-type"].split(";")[0], "text/plain")
        command(PROMTOOL, "check", "metrics", stdin=text)

    @check(f"OpenMetrics for who asks for it, {name}")
    def _():
        headers, text = get(page, "application/openmetrics-text; version=1.0.0")
        equal(headers["content-type"].split(";")[0], "application/openmetrics-text")
        assert text.endswith("# EOF\n"), text[-100:]


for name, page in PAGES.items():
    of_page(name, page)


class Prometheus:
    """A server with one file of configuration and a folder of its own."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        config = Path(self.folder.name, "prometheus.yml")
        config.write_text(json.dumps(CONFIG))
        command(PROMTOOL, "check", "config", config)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        self.url = f"http://{address}/api/v1"
        self.log = open(Path(self.folder.name, "log"), "w+")
        words = [PROMETHEUS, f"--config.file={config}", f"--storage.tsdb.path={self.folder.name}/tsdb",
                 f"--web.listen-address={address}"]
        self.process = subprocess.Popen(words, stdout=self.log, stderr=self.log)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(20)
        self.log.close()
        self.folder.cleanup()

    def query(self, text):
        return json.loads(get(f"{self.url}/query?query={urllib.parse.quote(text)}")[1])["data"]["result"]

    def wait_for(self, text, holds):
        """The value of a query, once it holds."""
        deadline, found = time.monotonic() + PATIENCE, None
        while time.monotonic() < deadline:
            try:
                found = self.query(text)
                if found and holds(float(found[0]["value"][1])):
                    return float(found[0]["value"][1])
            except OSError:
                assert self.process.poll() is None, Path(self.folder.name, "log").read_text()[-1000:]
            time.sleep(0.5)
        raise AssertionError(f"{text} gives {found}; targets: {self.targets()}")

    def targets(self):
        active = json.loads(get(f"{self.url}/targets")[1])["data"]["activeTargets"]
        return [(target["labels"]["job"], target["health"], target["lastError"]) for target in active]


with Prometheus() as server:

    @check("both services are scraped")
    def _():
        server.wait_for("sum(up)", lambda value: value == 2)
        equal([error for _, _, error in server.targets()], ["", ""])

    @check("tokens, by a query")
    def _():
        before = server.wait_for("sum(eoscast_generation_tokens_total)", lambda value: value >= 0)
        post("/v1/completions", {"prompt": "Once upon a time", "max_tokens": 7, "ignore_eos": True})
        after = server.wait_for("sum(eoscast_generation_tokens_total)", lambda value: value >= before + 7)
        equal(after - before, 7)

    @check("histogram_quantile of the time to the first token, and of the predictor's time")
    def _():
        for name in ("eoscast_time_to_first_token_seconds", "eoscast_predictor_estimate_seconds"):
            asked = f"histogram_quantile(0.9, sum by (le) ({name}_bucket))"
            assert 0 < server.wait_for(asked, lambda value: value > 0) < 60

    @check("metadata: types and help texts")
    def _():
        known = json.loads(get(f"{server.url}/metadata")[1])["data"]
        ours = {name: entries for name, entries in known.items() if name.startswith("eoscast_")}
        assert len(ours) > 20 and all(entry["help"] for entries in ours.values() for entry in entries), known
