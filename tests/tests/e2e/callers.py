"""Has several threads ask for replies over one channel, for some seconds, and prints how many replies each has got.

A call that fails ends the program with an error: gRPC's own clients repeat only what was not sent.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

sys.path.insert(0, str(Path(__file__).parents[3] / "proto"))
worker, services = grpc.protos_and_services("eoscast/worker/v1/worker.proto")
address, threads, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
end = time.monotonic() + seconds


def reply(stub, tokens):
    sampling = worker.SamplingParams(max_tokens=tokens, ignore_eos=True)
    responses = list(stub.Generate(worker.GenerateRequest(text="Once upon a time", sampling_params=sampling)))
    assert responses[-1].complete.usage.completion_tokens == tokens, responses[-1]


def short_replies(stub):
    replies = 0
    while time.monotonic() < end:
        reply(stub, 8)
        replies += 1
    return replies


with grpc.insecure_channel(address) as channel, ThreadPoolExecutor(threads + 1) as pool:
    stub = services.WorkerServiceStub(channel)
    long_reply = pool.submit(reply, stub, 1200)
    callers = [pool.submit(short_replies, stub) for _ in range(threads)]
    print(*(caller.result() for caller in callers))
    long_reply.result()
