"""grpcurl, by reflection, without files."""

import json
import sys
from pathlib import Path

from check import PAIR, check, command, equal, objects, version

GRPCURL = Path(sys.executable).with_name("grpcurl")
WORKER, PREDICTOR = "eoscast.worker.v1.WorkerService", "eoscast.predictor.v1.PredictorService"
ASKED = {"chat": {"messages": [{"role": "user", "content": "Name a colour."}]}, "sampling_params": {"max_tokens": 6}}


def grpcurl(address, *words, body=None, **more):
    data = [] if body is None else ["-d", json.dumps(body)]
    return command(GRPCURL, "-plaintext", *data, address, *words, **more)


version(command(GRPCURL, "--version").split()[-1].lstrip("v"))


@check("list: each service lists its own")
def _():
    for address, own in ((PAIR.grpc, WORKER), (PAIR.predictor_grpc, PREDICTOR)):
        listed = grpcurl(address, "list").split()
        equal({name for name in listed if "reflection" not in name}, {"grpc.health.v1.Health", own})


@check("describe")
def _():
    assert "rpc Generate" in grpcurl(PAIR.grpc, "describe", WORKER)
    assert "max_tokens" in grpcurl(PAIR.grpc, "describe", "eoscast.worker.v1.SamplingParams")
    assert "rpc StreamSteps" in grpcurl(PAIR.predictor_grpc, "describe", PREDICTOR)
    grpcurl(PAIR.grpc, "describe", "grpc.health.v1.Health")


@check("Generate, with estimates and log-probabilities")
def _():
    wanted = ASKED | {"include_estimate": True, "include_eos_logprob": True}
    wanted["sampling_params"] = {"max_tokens": 40, "min_tokens": 40, "logprobs": 2, "temperature": 0}
    found = objects(grpcurl(PAIR.grpc, f"{WORKER}/Generate", body=wanted))
    chunks, complete = [message["chunk"] for message in found[:-1]], found[-1]["complete"]
    equal(complete["usage"]["completionTokens"], 40)
    equal(sum(len(chunk["eosLogprobs"]) for chunk in chunks), 40)
    equal(sum(len(chunk["logprobs"]) for chunk in chunks), 40)
    assert any("estimate" in chunk for chunk in chunks) and "firstEstimate" in complete


@check("GetModelInfo, GetServerInfo, GetLoads, GetModel, ListRequests")
def _():
    equal(json.loads(grpcurl(PAIR.grpc, f"{WORKER}/GetModelInfo"))["architecture"], "llama")
    assert json.loads(grpcurl(PAIR.grpc, f"{WORKER}/GetServerInfo"))["predictor"]["connected"]
    json.loads(grpcurl(PAIR.grpc, f"{WORKER}/GetLoads"))
    json.loads(grpcurl(PAIR.predictor_grpc, f"{PREDICTOR}/GetModel"))
    json.loads(grpcurl(PAIR.predictor_grpc, f"{PREDICTOR}/ListRequests"))


@check("the details of an error are printed")
def _():
    wrong = ASKED | {"sampling_params": {"top_p": 7}}
    # grpcurl's exit status is 64 and the code.
    printed = grpcurl(PAIR.grpc, f"{WORKER}/Generate", body=wrong, status=64 + 3)
    assert "InvalidArgument" in printed and "sampling_params.top_p" in printed, printed
    assert '"fieldViolations"' in printed and "not recognized" not in printed, printed
    printed = grpcurl(PAIR.predictor_grpc, f"{PREDICTOR}/GetEstimate", body={"request_id": "none"}, status=64 + 5)
    assert "NotFound" in printed, printed


@check("a field that is not in the contract")
def _():
    assert "no known field" in grpcurl(PAIR.grpc, f"{WORKER}/Generate", body=ASKED | {"colour": 1}, status=1)


@check("a deadline")
def _():
    long = ASKED | {"sampling_params": {"max_tokens": 4000, "ignore_eos": True}}
    printed = command(GRPCURL, "-plaintext", "-max-time", 1, "-d", json.dumps(long), PAIR.grpc, f"{WORKER}/Generate",
                      status=64 + 4)
    assert "DeadlineExceeded" in printed, printed[-500:]


@check("health of each service")
def _():
    names = {PAIR.grpc: ["", WORKER], PAIR.predictor_grpc: ["", PREDICTOR, "eoscast.predictor.v1.EventLog"]}
    for address, services in names.items():
        for service in services:
            found = json.loads(grpcurl(address, "grpc.health.v1.Health/Check", body={"service": service}))
            equal(found, {"status": "SERVING"})
    grpcurl(PAIR.grpc, "grpc.health.v1.Health/Check", body={"service": "none"}, status=64 + 5)
