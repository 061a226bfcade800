"""Streams a reply over gRPC, with the forecast of how many tokens are still to come.

Start the pair with `make serve`. Then, in another terminal, in the folder of the repository:

    python3 -m venv /tmp/eoscast && /tmp/eoscast/bin/pip install -r docs/examples/requirements.txt
    /tmp/eoscast/bin/python docs/examples/generate.py "Name a colour."

EOSCAST_WORKER names another worker than 127.0.0.1:50051.
"""

import os
import sys
from pathlib import Path

import grpc

# grpcio-tools compiles the contract when the program starts. A real client compiles it once, when it is built.
sys.path.insert(0, str(Path(__file__).parents[2] / "proto"))
worker, services = grpc.protos_and_services("eoscast/worker/v1/worker.proto")


def main():
    prompt = " ".join(sys.argv[1:]) or "Write a short story about a clock that runs backwards."
    request = worker.GenerateRequest(
        chat=worker.ChatInput(messages=[worker.ChatMessage(role="user", content=prompt)]),
        sampling_params=worker.SamplingParams(max_tokens=200, temperature=0.8, seed=1),
        include_estimate=True,
    )
    tokens = 0
    with grpc.insecure_channel(os.environ.get("EOSCAST_WORKER", "127.0.0.1:50051")) as channel:
        for response in services.WorkerServiceStub(channel).Generate(request, timeout=120):
            if response.WhichOneof("event") == "complete":
                finish(response.complete)
                continue
            tokens += len(response.chunk.token_ids)
            print(response.chunk.text, end="", flush=True)
            # There is no estimate while no predictor runs.
            if tokens % 8 == 0 and response.chunk.HasField("estimate"):
                print(f"\n    [forecast {describe(response.chunk.estimate)}]", file=sys.stderr)


def describe(estimate):
    # Quantiles 2 and 10 are the 10 % and the 90 % level.
    low, high = estimate.quantiles[2], estimate.quantiles[10]
    return f"after {estimate.step} tokens: about {estimate.mean:.0f} to come ({low:.0f} to {high:.0f})"


def finish(complete):
    seconds = complete.timings.total.ToTimedelta().total_seconds()
    print(f"\n{complete.usage.completion_tokens} tokens in {seconds:.1f} s", file=sys.stderr)
    if complete.HasField("first_estimate"):
        print(f"forecast {describe(complete.first_estimate)}", file=sys.stderr)


if __name__ == "__main__":
    main()
