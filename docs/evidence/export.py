#!/usr/bin/env python3
"""Measures `eoscast-lab export`: rows a second, bytes a token, peak memory; and whether DuckDB counts what the log holds.

    python3 docs/evidence/export.py --data data/predictor

exports the log in --data, which says how many bytes a token takes; then repeats its lines under new request ids until there are a
million steps, exports them, and compares what DuckDB finds with what was written. (Lines that repeat pack better than a log does.)
Needs duckdb (tests/requirements.txt), and a release build of eoscast-lab (`make lab`).
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb

SERIES = ("steps", "requests", "starts")


def lines_of(folder: Path, series: str) -> list[str]:
    files = sorted(folder.glob(f"{series}-*.jsonl"))
    lines = [line for file in files for line in file.read_text().splitlines() if line]
    if not lines:
        sys.exit(f"{folder} has no {series}-*.jsonl; give a log that serve or collect wrote")
    return lines


def write_log(source: Path, folder: Path, wanted: int) -> dict:
    """Writes the log; gives what it holds, summed up from the lines as written."""
    found = {"steps": 0, "tokens": 0, "eos_logprob": 0.0, "requests": 0, "output_length": 0, "starts": 0, "bytes": 0}
    lines = {series: lines_of(source, series) for series in SERIES}
    parsed = [json.loads(line) for line in lines["steps"]]
    lengths = [json.loads(line)["output_length"] for line in lines["requests"]]
    files = {series: open(folder / f"{series}-{0:016}.jsonl", "w") for series in SERIES}
    repetition = 0
    while found["steps"] < wanted:
        name = f'"request_id":"{repetition}~'
        for series in SERIES:
            count = wanted - found["steps"] if series == "steps" else len(lines[series])
            for line in lines[series][:count]:
                text = line.replace('"request_id":"', name, 1) + "\n"
                files[series].write(text)
                found["bytes"] += len(text.encode()) if series == "steps" else 0
        used = parsed[: wanted - found["steps"]]
        found["steps"] += len(used)
        found["tokens"] += sum(line["step"] for line in used)
        found["eos_logprob"] += sum(line["eos_logprob"] for line in used)
        found["requests"] += len(lengths)
        found["output_length"] += sum(lengths)
        found["starts"] += len(lines["starts"])
        repetition += 1
    for file in files.values():
        file.close()
    return found


def ask(sql: str) -> tuple:
    return duckdb.sql(sql).fetchall()[0]


def export(lab: str, data: Path, out: Path) -> tuple[float, resource.struct_rusage]:
    """Runs the command; gives its seconds and what it used."""
    begun = time.monotonic()
    child = subprocess.Popen([lab, "export", "--data", str(data), "--out", str(out)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status != 0:
        sys.exit("the export failed")
    return time.monotonic() - begun, usage


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", type=Path, required=True, help="a log that serve or collect wrote")
    arguments.add_argument("--lines", type=int, default=1_000_000, help="step lines to export")
    arguments.add_argument("--lab", default="target/release/eoscast-lab", help="the binary")
    given = arguments.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        once = folder / "once.parquet"
        export(given.lab, given.data, once)
        (steps,) = ask(f"select count(*) from '{once}'")
        bytes_of_lines = sum(file.stat().st_size for file in given.data.glob("steps-*.jsonl"))
        print(f"{given.data}: {steps} steps, {bytes_of_lines / 1e6:.2f} MB of lines, {bytes_of_lines / steps:.0f} bytes a token")
        size = once.stat().st_size
        print(f"as Parquet {size / 1e6:.2f} MB, {size / steps:.1f} bytes a token")
        held = write_log(given.data, folder, given.lines)
        out = folder / "log.parquet"
        seconds, usage = export(given.lab, folder, out)
        rows = held["steps"] + held["requests"] + held["starts"]
        print(f"{held['steps']} step lines, {held['bytes'] / 1e6:.0f} MB; {rows} rows in {seconds:.1f} s: {rows / seconds:.0f} rows/s")
        print(f"peak memory {usage.ru_maxrss / 1024:.0f} MB, CPU {usage.ru_utime + usage.ru_stime:.1f} s")

        steps, tokens, eos = ask(f"select count(*), sum(step), sum(eos_logprob::double) from '{out}'")
        requests, lengths = ask(f"select count(*), sum(output_length) from '{out.with_suffix('.requests.parquet')}'")
        (starts,) = ask(f"select count(*) from '{out.with_suffix('.starts.parquet')}'")
        found = {"steps": steps, "tokens": tokens, "requests": requests, "output_length": lengths, "starts": starts}
        wrong = {name: (value, held[name]) for name, value in found.items() if value != held[name]}
        # The lines have the shortest digits of a 32-bit number, the table the number.
        if abs(eos - held["eos_logprob"]) > 1e-6 * abs(held["eos_logprob"]):
            wrong["eos_logprob"] = (eos, held["eos_logprob"])
        if wrong:
            sys.exit(f"DuckDB (left) and the log (right) differ: {wrong}")
        print(f"DuckDB finds what the log holds: {found}")


if __name__ == "__main__":
    main()
