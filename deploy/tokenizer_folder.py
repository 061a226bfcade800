#!/usr/bin/env python3
"""Writes the tokenizer of a GGUF file as a folder that Hugging Face's AutoTokenizer loads.

    tokenizer_folder.py models/SmolLM2-135M-Instruct.Q4_1.gguf [--out FOLDER]

Load generators (aiperf, vllm bench, genai-perf, guidellm) count tokens with it: `--tokenizer FOLDER`. The folder holds
tokenizer.json, tokenizer_config.json and config.json. Byte-level BPE only, which Llama 3, SmolLM2 and Qwen use.
"""

import argparse
import json
import sys
from pathlib import Path

from gguf_metadata import GgufError, read_gguf

UNKNOWN, CONTROL, USER_DEFINED = 2, 3, 4
# Published split patterns. Llama 3 cuts numbers into groups of up to three digits, Qwen2 into digits.
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3, QWEN2 = WORDS % r"\p{N}{1,3}", WORDS % r"\p{N}"
# Keys of config.json, and those of GGUF without the architecture in front.
CONFIG = {
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "max_position_embeddings": "context_length",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "rope_theta": "rope.freq_base",
}
CLASSES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gguf", type=Path, help="the model file")
    parser.add_argument("--out", type=Path, help="folder for the files (default: FILE-tokenizer, beside the model)")
    args = parser.parse_args()
    try:
        print(f"tokenizer: {write_folder(args.gguf, args.out or folder_of(args.gguf))}")
    except (GgufError, OSError) as error:
        sys.exit(f"error: {error}")


def folder_of(gguf):
    return gguf.with_name(f"{gguf.stem}-tokenizer")


def write_folder(gguf, folder):
    metadata, tensors = read_gguf(gguf)
    try:
        files = {
            "tokenizer.json": tokenizer(metadata),
            "tokenizer_config.json": tokenizer_config(metadata),
            "config.json": model_config(metadata, tensors),
        }
    except KeyError as missing:
        raise GgufError(f"{gguf} has no {missing}") from missing
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        # Written beside first, so that an interrupt leaves no half file under its name.
        partial = folder / f"{name}.partial"
        partial.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        partial.replace(folder / name)
    return folder


def tokenizer(metadata):
    """tokenizer.json, in the form of the library `tokenizers`."""
    kind = metadata.get("tokenizer.ggml.model")
    if kind != "gpt2":
        raise GgufError(f"tokenizer.ggml.model is {kind!r}; only 'gpt2' (byte-level BPE) can be written")
    pre = pre_tokenizer(metadata.get("tokenizer.ggml.pre"))
    tokens = metadata["tokenizer.ggml.tokens"]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added_tokens(metadata),
        "normalizer": pre["normalizer"],
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": pre["splits"]},
        "post_processor": bos_in_front(metadata, pre["add_bos"]),
        "decoder": byte_level(use_regex=True),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": pre["ignore_merges"],
            "vocab": {token: id for id, token in enumerate(tokens)},
            "merges": metadata["tokenizer.ggml.merges"],
        },
    }


def pre_tokenizer(name):
    """How text is cut before merging. The worker knows the same names, in worker/model/src/text/pre_tokenizer.rs."""

    def split(pattern):
        return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}

    pre = {"normalizer": None, "ignore_merges": False, "add_bos": False}
    if name == "gpt-2":
        return pre | {"splits": [byte_level(use_regex=True)]}
    if name in ("smollm", "starcoder", "refact", "command-r"):
        return pre | {"splits": [{"type": "Digits", "individual_digits": True}, byte_level(use_regex=True)]}
    if name == "smaug-bpe":
        return pre | {"splits": [split(LLAMA3), byte_level(use_regex=False)]}
    if name in ("llama3", "llama-v3", "llama-bpe"):
        splits = [split(LLAMA3), byte_level(use_regex=False)]
        return pre | {"splits": splits, "ignore_merges": True, "add_bos": True}
    if name == "qwen2":
        return pre | {"splits": [split(QWEN2), byte_level(use_regex=False)], "normalizer": {"type": "NFC"}}
    raise GgufError(f"tokenizer.ggml.pre is {name!r}, which is not known here")


def byte_level(use_regex):
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def added_tokens(metadata):
    """Tokens that are found in a text before it is cut, such as <|im_start|>."""
    tokens = metadata["tokenizer.ggml.tokens"]
    types = metadata.get("tokenizer.ggml.token_type", [])
    named = {metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos", "eot", "eom", "padding")}
    added = []
    for id, token in enumerate(tokens):
        kind = types[id] if id < len(types) else None
        special = id in named or kind in (UNKNOWN, CONTROL)
        if special or kind == USER_DEFINED:
            plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
            added.append({"id": id, "content": token, **plain, "special": special})
    return added


def bos_in_front(metadata, default):
    """Prompts start with BOS where the model was trained so."""
    bos = token(metadata, "bos")
    if bos is None or not metadata.get("tokenizer.ggml.add_bos_token", default):
        return None
    start, ids = {"SpecialToken": {"id": bos, "type_id": 0}}, [metadata["tokenizer.ggml.bos_token_id"]]
    sequence = [{"Sequence": {"id": name, "type_id": 0}} for name in "AB"]
    return {
        "type": "TemplateProcessing",
        "single": [start, sequence[0]],
        "pair": [start, *sequence],
        "special_tokens": {bos: {"id": bos, "ids": ids, "tokens": [bos]}},
    }


def tokenizer_config(metadata):
    config = {
        # Takes tokenizer.json as it is. A class of one model would build its own rules from the vocabulary.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": token(metadata, "bos"),
        "eos_token": token(metadata, "eos"),
        "unk_token": token(metadata, "unknown"),
        "pad_token": token(metadata, "padding"),
        "clean_up_tokenization_spaces": False,
        "model_max_length": metadata.get(f"{metadata['general.architecture']}.context_length"),
        "chat_template": metadata.get("tokenizer.chat_template"),
    }
    return {key: value for key, value in config.items() if value is not None}


def token(metadata, name):
    """The text of a token that the file names, or None."""
    id = metadata.get(f"tokenizer.ggml.{name}_token_id")
    tokens = metadata["tokenizer.ggml.tokens"]
    return tokens[id] if id is not None and 0 <= id < len(tokens) else None


def model_config(metadata, tensors):
    """config.json, as far as the file tells."""
    architecture = metadata["general.architecture"]
    config = {"architectures": [CLASSES[architecture]], "model_type": architecture} if architecture in CLASSES else {}
    for key, suffix in CONFIG.items():
        value = metadata.get(f"{architecture}.{suffix}")
        # The file has 32-bit floats: 1e-5 comes out as 9.999999747378752e-06.
        config[key] = float(f"{value:.7g}") if isinstance(value, float) else value
    config["vocab_size"] = len(metadata["tokenizer.ggml.tokens"])
    for name, short in (("bos", "bos"), ("eos", "eos"), ("pad", "padding")):
        config[f"{name}_token_id"] = metadata.get(f"tokenizer.ggml.{short}_token_id")
    config["tie_word_embeddings"] = "output.weight" not in tensors
    return {key: value for key, value in config.items() if value is not None}


if __name__ == "__main__":
    main()
