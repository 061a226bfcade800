"""Prints what DuckDB and pandas find in the Parquet files of a log, and DuckDB in its lines, as one JSON object."""

import json
import sys
from pathlib import Path

import duckdb
import pandas

folder, steps = Path(sys.argv[1]), Path(sys.argv[2])
requests = steps.with_suffix(".requests.parquet")



def steps_of(source: str, estimate: str, time: str) -> list:
    numbers = f"sum(step), sum(eos_logprob::double), count({estimate}), count(distinct request_id), {time}"
    return query(f"select count(*), {numbers} from {source}")


def query(sql: str) -> list:
    row = duckdb.sql(sql).fetchall()[0]
    return [value if isinstance(value, (int, float)) else str(value) for value in row]


frame = pandas.read_parquet(steps)
ends = pandas.read_parquet(requests)
print(
    json.dumps(
        {
            "duckdb": steps_of(f"'{steps}'", "estimate_mean", "epoch(max(timestamp))"),
            "lines": steps_of(f"read_json_auto('{folder}/steps-*.jsonl')", "estimate", "max(timestamp)"),
            "pandas": [
                len(frame),
                int(frame["step"].sum()),
                float(frame["eos_logprob"].astype("float64").sum()),
                int(frame["estimate_mean"].notna().sum()),
                int(frame["request_id"].nunique()),
                frame["timestamp"].max().timestamp(),
            ],
            "quantile": float(frame["estimate_quantiles"].dropna().iloc[0][6]),
            "sketch": len(frame["sketch"].dropna().iloc[0]),
            "requests": query(f"select count(*), sum(output_length), count(*) filter (censored) from '{requests}'"),
            "reasons": sorted(ends["finish_reason"].unique().tolist()),
            "starts": query(f"select count(*), max(len(eos_token_ids)) from '{steps.with_suffix('.starts.parquet')}'"),
        }
    )
)
