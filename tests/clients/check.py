"""What the scripts in checks/ share: the running pair, and checks that each print one line for run.py."""

import asyncio
import inspect
import json
import os
import subprocess
import traceback
import urllib.error
import urllib.request
from types import SimpleNamespace

MARK = "CHECK "
# Addresses and paths of the pair: http, grpc, predictor_grpc, predictor_metrics, log, bin, tokenizer, tools.
PAIR = SimpleNamespace(**json.loads(os.environ.get("CLIENTS_PAIR", "{}")))


def version(text):
    print(MARK + json.dumps({"version": text}), flush=True)


def check(what):
    """Runs the function at once. An exception is the check's failure, and the next check runs all the same."""

    def run(body):
        error = None
        try:
            result = body()
            if inspect.isawaitable(result):
                asyncio.run(awaited(result))
        except Exception as exception:
            error = describe(exception)
        print(MARK + json.dumps({"what": what, "error": error}), flush=True)

    return run


async def awaited(result):
    return await result


def describe(exception):
    """The message and, since `assert` has none of its own, the line that failed."""
    frames = [frame for frame in traceback.extract_tb(exception.__traceback__) if "/checks/" in frame.filename]
    where = f" at `{frames[-1].line}`" if frames else ""
    return f"{type(exception).__name__}{where}: {exception}"


def equal(found, expected):
    assert found == expected, f"found {found!r}, expected {expected!r}"


def raises(kind, call):
    """The exception of this kind that the call raises."""
    try:
        result = call()
    except kind as exception:
        return exception
    raise AssertionError(f"no {kind.__name__}; the answer was {result!r}")


def command(*words, stdin=None, status=0, patience=60):
    """What a program prints on both outputs, when it ends with this status."""
    text = [str(word) for word in words]
    done = subprocess.run(text, input=stdin, capture_output=True, text=True, timeout=patience)
    printed = f"{done.stdout}{done.stderr}".strip()
    assert done.returncode == status, f"{' '.join(text)} ended with {done.returncode}: {printed[-2000:]}"
    return printed


def objects(text):
    """The JSON objects of a text, one after the other."""
    decoder, found = json.JSONDecoder(), []
    while text := text.lstrip():
        one, end = decoder.raw_decode(text)
        found.append(one)
        text = text[end:]
    return found


def opened(url, body=None, **headers):
    """An answer; a refusal fails with what it says."""
    request = urllib.request.Request(url, body, {name.replace("_", "-"): value for name, value in headers.items()})
    try:
        return urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as refusal:
        raise AssertionError(f"{url}: {refusal.code}: {refusal.read().decode()}") from None


def get(url, accept="*/*"):
    """Headers and text of an answer."""
    with opened(url, accept=accept) as answer:
        return answer.headers, answer.read().decode()


def post(path, body):
    """The worker's answer, from JSON to JSON."""
    with opened(PAIR.http + path, json.dumps(body).encode(), content_type="application/json") as answer:
        return json.load(answer)
