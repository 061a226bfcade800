"""Streams a reply through the `openai` package, with the forecast of how many tokens are still to come.

Start the pair with `make serve`. Then, in another terminal, in the folder of the repository:

    python3 -m venv /tmp/eoscast && /tmp/eoscast/bin/pip install -r docs/examples/requirements.txt
    /tmp/eoscast/bin/python docs/examples/chat.py "Name a colour."

EOSCAST_BASE_URL names another worker than http://127.0.0.1:8080/v1.
"""

import os
import sys

from openai import OpenAI


def main():
    prompt = " ".join(sys.argv[1:]) or "Write a short story about a clock that runs backwards."
    # The worker asks for no key; the package wants one.
    client = OpenAI(base_url=os.environ.get("EOSCAST_BASE_URL", "http://127.0.0.1:8080/v1"), api_key="none")
    chunks = client.chat.completions.create(
        model="default",
        messages=[{"role": "user", "content": prompt}],
        max_tokens=200,
        temperature=0.8,
        seed=1,
        stream=True,
        extra_body={"x_forecast": True},
    )
    shown = 0
    for chunk in chunks:
        choice = chunk.choices[0]
        print(choice.delta.content or "", end="", flush=True)
        # Fields that the package does not know are attributes, too. There is none while no predictor runs.
        forecast = getattr(choice, "x_forecast", None) or {}
        estimate = forecast.get("estimate")
        if estimate and estimate["step"] >= shown + 8:
            shown = estimate["step"]
            print(f"\n    [forecast {describe(estimate)}]", file=sys.stderr)
        if first := forecast.get("first_estimate"):
            print(f"\nforecast {describe(first)}", file=sys.stderr)
    print()


def describe(estimate):
    low, high = estimate["quantiles"]["0.1"], estimate["quantiles"]["0.9"]
    return f"after {estimate['step']} tokens: about {estimate['mean']:.0f} to come ({low:.0f} to {high:.0f})"


if __name__ == "__main__":
    main()
