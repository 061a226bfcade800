#!/usr/bin/env python3
"""Tries the clients that people already use on a running worker and predictor, and writes a table of what they did.

    make clients                            everything: build, environments, table in docs/evidence/clients.md
    tests/clients/run.py --only openai      some of them; prints the table
"""

import argparse
import contextlib
import datetime
import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import pair
from check import MARK
from environments import HERE, Environments

ROOT = HERE.parents[1]
# What `make model` leaves.
MODEL, MODELS = "smollm2-135m", Path(os.environ.get("EOSCAST_MODELS") or ROOT / "models").absolute()
TOKENIZER = MODELS / "SmolLM2-135M-Instruct.Q4_1-tokenizer"
MAIN, LLAMA_INDEX, AIPERF = "requirements.txt", "requirements-llama-index.txt", "requirements-aiperf.txt"
# Name, script in checks/, and the environment that it runs in.
CLIENTS = [
    ("openai-python", "openai_python.py", MAIN),
    ("litellm", "litellm_sdk.py", MAIN),
    ("langchain-openai", "langchain_chat.py", MAIN),
    ("llama-index", "llama_index_like.py", LLAMA_INDEX),
    ("pydantic-ai", "pydantic_agent.py", MAIN),
    ("AutoTokenizer", "auto_tokenizer.py", AIPERF),
    ("aiperf", "load_aiperf.py", AIPERF),
    ("vllm bench, guidellm, lm-eval (replayed)", "replayed_bodies.py", MAIN),
    ("locust", "load_locust.py", MAIN),
    ("k6", "load_k6.py", MAIN),
    ("grpcurl", "grpc_grpcurl.py", MAIN),
    ("buf curl", "grpc_buf.py", MAIN),
    ("Prometheus", "prometheus.py", MAIN),
    ("DuckDB, pandas", "event_log.py", MAIN),
]
PATIENCE = 600
TITLE = """# Clients

Programs that people already use, as they are, against a running worker and predictor. [The script](../../tests/clients/README.md)
starts both, runs each client, and writes this page:

```
make clients
```
"""


def main():
    # As after Ctrl-C, what was started ends, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("error: ended by SIGTERM"))
    args = arguments()
    parts = [part.lower() for part in args.only or [""]]
    chosen = [client for client in CLIENTS if any(part in client[0].lower() for part in parts)]
    if not chosen:
        sys.exit(f"error: --only {' '.join(args.only)} names none of: {', '.join(name for name, _, _ in CLIENTS)}")
    environments = Environments(ROOT / ".tools" / "clients")
    pythons = {requirements: environments.python(requirements) for _, _, requirements in chosen}
    with pair.running(args.bin, MODEL, MODELS) as addresses:
        addresses |= {"bin": str(args.bin), "tokenizer": str(TOKENIZER)}
        if any(name == "Prometheus" for name, _, _ in chosen):
            addresses["tools"] = str(environments.prometheus())
        results = [(name, *tried(name, script, pythons[file], addresses)) for name, script, file in chosen]
    page = TITLE + "\n" + circumstances(args) + "\n\n" + table(results)
    if args.out:
        args.out.write_text(page)
        print(f"written: {args.out}", file=sys.stderr)
    else:
        print(page)
    if any(failed(checks) for _, _, checks in results):
        sys.exit(1)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these, by a part of the name")
    parser.add_argument("--out", type=Path, help="write the table to this file instead of printing it")
    parser.add_argument("--bin", type=Path, default=ROOT / "target" / "release", metavar="DIR",
                        help="folder of the binaries (default: target/release)")
    args = parser.parse_args()
    args.bin = args.bin.absolute()
    needed = {"make build lab": args.bin / "eoscast-worker", "make model": TOKENIZER / "tokenizer.json"}
    for maker, path in needed.items():
        if not path.exists():
            sys.exit(f"error: there is no {path}: run `{maker}`")
    return args


def tried(name, script, python, addresses):
    """The client's version, and what was checked with the error or None."""
    started = time.monotonic()
    settings = os.environ | {
        "CLIENTS_PAIR": json.dumps(addresses),
        "PYTHONPATH": str(HERE),
        "PYTHONDONTWRITEBYTECODE": "1",
        "NO_COLOR": "1",
    }
    child = subprocess.Popen(
        [python, HERE / "checks" / script], env=settings, text=True, errors="replace", start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        printed, _ = child.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        kill_all_of(child)
        printed = child.communicate()[0] + f"\nnot ready after {PATIENCE} seconds"
    finally:
        kill_all_of(child)
    version, checks, other = "?", [], []
    for line in printed.splitlines():
        if not line.startswith(MARK):
            other.append(line)
            continue
        told = json.loads(line[len(MARK) :])
        version = told.get("version", version)
        if "what" in told:
            checks.append((told["what"], told["error"]))
    if child.returncode != 0 or not checks:
        checks.append(("the whole script", f"ended with {child.returncode}: " + "\n".join(other)[-1500:]))
    print(f"{name} {version}: {result(checks)} in {time.monotonic() - started:.0f} s", file=sys.stderr)
    for what, error in failed(checks):
        print(f"  {what}: {error}", file=sys.stderr)
    return version, checks


def kill_all_of(child):
    """The script and what it started, which is a session of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def failed(checks):
    return [(what, error) for what, error in checks if error is not None]


def result(checks):
    good = len(checks) - len(failed(checks))
    return "passed" if good == len(checks) else f"{good} of {len(checks)} passed"


def circumstances(args):
    """Machine, day and build."""
    version = subprocess.run([args.bin / "eoscast-worker", "--version"], capture_output=True, text=True).stdout.strip()
    day = datetime.date.today().isoformat()
    return f"{processor()}, {os.cpu_count()} cores, {system()}, {day}; model {MODEL}; {version}."


def processor():
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def system():
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.system()


def table(results):
    rows = ["| client | version | what was run | result |", "| --- | --- | --- | --- |"]
    for name, version, checks in results:
        rows.append(f"| {name} | {version} | {cell('; '.join(what for what, _ in checks))} | {result(checks)} |")
    faults = [f"- {name}, {what}: {cell(error)}" for name, _, checks in results for what, error in failed(checks)]
    return "\n".join(rows) + "\n" + ("\nWhat failed:\n\n" + "\n".join(faults) + "\n" if faults else "")


def cell(text):
    """On one line, without what Markdown would take for its own."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("](", "] (")[:1000]


if __name__ == "__main__":
    main()
