"""DuckDB and pandas read the predictor's log, as JSONL and as what `eoscast-lab export` makes of it."""

import glob
import tempfile
import time
from importlib.metadata import version as version_of
from pathlib import Path

import duckdb
import pandas
from check import PAIR, check, command, equal, post, version

version(f"DuckDB {version_of('duckdb')}, pandas {version_of('pandas')}")
SERIES = ("steps", "requests", "starts")
MESSAGES = [{"role": "user", "content": "Name three colours."}]


def finish_some():
    """Replies in the log, whatever ran before."""
    for seed in range(3):
        post("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 12, "seed": seed, "task": "colours"})
    before = -1
    while before != (before := sum(path.stat().st_size for path in Path(PAIR.log).glob("*.jsonl"))):
        time.sleep(1.5)


def files(series):
    return f"{PAIR.log}/{series}-*.jsonl"


def lines(series):
    return sum(len(Path(path).read_text().splitlines()) for path in sorted(glob.glob(files(series))))


def count(table):
    return duckdb.sql(f"select count(*) from {table}").fetchall()[0][0]


def frame(series):
    return pandas.concat([pandas.read_json(path, lines=True) for path in sorted(glob.glob(files(series)))])


finish_some()


@check("DuckDB: read_json of the three series")
def _():
    for series in SERIES:
        found = count(f"read_json('{files(series)}')")
        equal(found, lines(series))
        assert found > 0, series


@check("DuckDB: steps of a request against its length, a join")
def _():
    wrong = duckdb.sql(f"""
        with counted as (select request_id, epoch, count(*) as n, max(step) as last
                         from read_json('{files("steps")}') group by all)
        select r.request_id, r.output_length, n, last
        from read_json('{files("requests")}') r left join counted using (request_id, epoch)
        where r.output_length > 0 and (n is distinct from r.output_length or last is distinct from r.output_length)
    """).fetchall()
    equal(wrong, [])


@check("DuckDB: probability, time and task have types")
def _():
    least, most, first = duckdb.sql(f"""
        select min(eos_prob), max(eos_prob), min(to_timestamp(timestamp)) from read_json('{files("steps")}')
    """).fetchall()[0]
    assert 0 <= least <= most <= 1 and first.year > 2020
    assert count(f"read_json('{files('requests')}') where task = 'colours'") >= 3


@check("pandas: read_json of the three series, means by finish reason")
def _():
    for series in SERIES:
        equal(len(frame(series)), lines(series))
    means = frame("requests").groupby("finish_reason")["output_length"].mean()
    assert means["length"] > 0, means


with tempfile.TemporaryDirectory() as folder:
    # The file that --out names is of steps; the other series lie beside it.
    NAMES = {"steps": "log.parquet", "requests": "log.requests.parquet", "starts": "log.starts.parquet"}
    TABLES = {series: f"{folder}/{name}" for series, name in NAMES.items()}

    @check("eoscast-lab export")
    def _():
        command(Path(PAIR.bin) / "eoscast-lab", "export", "--data", PAIR.log, "--out", TABLES["steps"])
        assert all(Path(table).exists() for table in TABLES.values()), list(Path(folder).iterdir())

    @check("Parquet: counts by DuckDB and pandas equal the log's")
    def _():
        for series, table in TABLES.items():
            equal(count(f"'{table}'"), lines(series))
            equal(len(pandas.read_parquet(table)), lines(series))

    @check("Parquet: EOS probabilities equal the log's, a join in DuckDB")
    def _():
        wrong = count(f"""
            read_json('{files("steps")}') a left join '{TABLES["steps"]}' b using (request_id, step)
            where b.eos_logprob is null or abs(a.eos_logprob - b.eos_logprob) > 1e-5
        """)
        equal(wrong, 0)

    @check("Parquet: times are times in both")
    def _():
        first = duckdb.sql(f"select min(timestamp) from '{TABLES['steps']}'").fetchall()[0][0]
        equal(first.year, pandas.read_parquet(TABLES["steps"])["timestamp"].min().year)
