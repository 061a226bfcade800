"""A predictor and a worker on free ports, with a log of their own."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

# A model loads in seconds; a machine that is busy takes longer.
START_PATIENCE = 120
STOP_PATIENCE = 40


@contextlib.contextmanager
def running(bin, model, models):
    """Addresses and paths of a pair that ends with the block."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as started:
        grpc, http, predictor_grpc, predictor_metrics = free_addresses(4)
        log = Path(folder, "log")
        started.enter_context(process(
            folder, ["nice", "-n", "19", bin / "eoscast-predictor", "serve", "--listen", predictor_grpc,
                     "--metrics", predictor_metrics, "--data-dir", log],
            models, f"http://{predictor_metrics}/health"))
        started.enter_context(process(
            folder, [bin / "eoscast-worker", "serve", "--model", model, "--listen", grpc, "--http", http,
                     "--predictor", f"http://{predictor_grpc}"],
            models, f"http://{http}/health"))
        yield {
            "grpc": grpc,
            "http": f"http://{http}",
            "predictor_grpc": predictor_grpc,
            "predictor_metrics": f"http://{predictor_metrics}",
            "log": str(log),
        }


def free_addresses(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return addresses


@contextlib.contextmanager
def process(folder, words, models, health):
    """Runs while the block does; the block begins when it is healthy."""
    words = [str(word) for word in words]
    name = next(Path(word).name for word in words if "eoscast-" in word)
    # No setting of the caller's shell applies.
    settings = {key: value for key, value in os.environ.items() if not key.startswith(("EOSCAST_", "RUST_LOG"))}
    printed = Path(folder, f"{name}.log")
    with printed.open("w") as output:
        child = subprocess.Popen(words, stdout=output, stderr=output, env=settings | {"EOSCAST_MODELS": str(models)})
    try:
        wait_for(health, child, name, printed)
        yield
        if child.poll() is not None:
            sys.exit(f"error: {name} ended with {child.returncode} while clients used it:\n{printed.read_text()[-3000:]}")
    finally:
        child.terminate()
        try:
            child.wait(STOP_PATIENCE)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def wait_for(health, child, name, printed):
    deadline = time.monotonic() + START_PATIENCE
    while time.monotonic() < deadline and child.poll() is None:
        try:
            with urllib.request.urlopen(health, timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    sys.exit(f"error: {name} is not healthy at {health}:\n{printed.read_text()[-3000:]}")
