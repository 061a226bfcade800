"""NVIDIA's aiperf, which counts tokens by the tokenizer folder."""

import json
import os
import sys
import tempfile
from importlib.metadata import version as version_of
from pathlib import Path

from check import PAIR, check, command, equal, version

version(version_of("aiperf"))
# In its offline mode aiperf takes a folder for a name on the hub.
os.environ.pop("HF_HUB_OFFLINE", None)
AIPERF = Path(sys.executable).with_name("aiperf")
REQUESTS, PROMPT, REPLY = 6, 48, 8


def profile(folder, endpoint, *more):
    """The summary of a short run, and what it read on /metrics meanwhile."""
    command(
        AIPERF, "profile", "--model", "default", "--url", PAIR.http, "--endpoint-type", endpoint, *more,
        "--tokenizer", PAIR.tokenizer, "--request-count", REQUESTS, "--concurrency", 2, "--ui", "none",
        "--synthetic-input-tokens-mean", PROMPT, "--output-tokens-mean", REPLY, "--extra-inputs", "ignore_eos:true",
        "--random-seed", 1, "--output-artifact-dir", folder, patience=280,
    )
    names = ("profile_export_aiperf.json", "server_metrics_export.json")
    return [json.loads(next(Path(folder).rglob(name)).read_text()) for name in names]


def of(endpoint, *more):
    @check(f"profile, {' '.join([endpoint, *more])}")
    def _():
        with tempfile.TemporaryDirectory() as folder:
            found, scraped = profile(folder, endpoint, *more)
        equal((found["request_count"]["avg"], found["error_summary"]), (REQUESTS, []))
        # aiperf makes prompts of so many tokens by the tokenizer folder, and the worker counts as many.
        equal((found["usage_prompt_tokens"]["avg"], found["usage_completion_tokens"]["avg"]), (PROMPT, REPLY))
        # The text of a sampled reply may be fewer tokens when it is encoded again.
        assert REPLY / 2 <= found["output_sequence_length"]["avg"] <= REPLY, found["output_sequence_length"]
        if "--streaming" in more:
            assert found["time_to_first_token"]["avg"] > 0 and found["inter_token_latency"]["avg"] > 0
        equal(len(scraped["summary"]["endpoints_successful"]), 1)


of("chat", "--streaming", "--apply-chat-template")
of("completions", "--streaming")
of("chat", "--use-server-token-count", "--apply-chat-template")
