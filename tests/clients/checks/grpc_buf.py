"""buf curl, by reflection and by the files of the contract."""

import base64
import json
import sys
from pathlib import Path

from check import PAIR, check, command, equal, objects, version

BUF = Path(sys.executable).with_name("buf")
PROTO = Path(__file__).parents[3] / "proto"
GENERATE = "eoscast.worker.v1.WorkerService/Generate"
ASKED = {"text": "Once upon a time", "samplingParams": {"maxTokens": 6, "temperature": 0}}


def curl(body, *words, address=PAIR.grpc, call=GENERATE, **more):
    return command(BUF, "curl", "--protocol", "grpc", "--http2-prior-knowledge", *words, "-d", json.dumps(body),
                   f"http://{address}/{call}", **more)


version(command(BUF, "--version"))


@check("Generate by reflection")
def _():
    found = objects(curl(ASKED))
    equal(found[-1]["complete"]["usage"]["completionTokens"], 6)
    assert "".join(message["chunk"].get("text", "") for message in found[:-1])


@check("Generate by the files")
def _():
    equal(objects(curl(ASKED, "--schema", PROTO))[-1]["complete"]["finishReason"], "FINISH_REASON_LENGTH")


@check("list of the methods")
def _():
    words = ["--protocol", "grpc", "--http2-prior-knowledge", "--list-methods"]
    printed = command(BUF, "curl", *words, f"http://{PAIR.grpc}")
    assert GENERATE in printed, printed


@check("the predictor by reflection")
def _():
    json.loads(curl({}, address=PAIR.predictor_grpc, call="eoscast.predictor.v1.PredictorService/GetModel"))


@check("the details of an error")
def _():
    # buf's exit status is 8 times the code.
    printed = curl(ASKED | {"samplingParams": {"topP": 7}}, status=8 * 3)
    error = json.loads(printed)
    equal(error["code"], "invalid_argument")
    assert "sampling_params.top_p" in error["message"], error
    detail = next(detail for detail in error["details"] if detail["type"] == "google.rpc.BadRequest")
    # buf prints the message's bytes.
    assert b"sampling_params.top_p" in base64.b64decode(detail["value"] + "=="), detail
