"""The tokenizer folder that `make setup` leaves, read by Hugging Face's transformers, against the worker's /tokenize."""

import random
import unicodedata
from importlib.metadata import version as version_of
from pathlib import Path

from check import PAIR, check, equal, post, version
from transformers import AutoConfig, AutoTokenizer

version(f"transformers {version_of('transformers')}, tokenizers {version_of('tokenizers')}")
tokenizer = AutoTokenizer.from_pretrained(PAIR.tokenizer)
TEXTS = [
    "", " ", "  \n\n\t ", "Hello world", " leading and trailing ", "a" * 300,
    "in 2024 it's 3.14159, 1e-9 and 0x1F",
    "don't I'LL they'Ve",
    "def f(x):\n    return {k: v for k, v in x.items()}  # ok\n", "SELECT * FROM t WHERE a>='1';",
    "naïve café", unicodedata.normalize("NFD", "naïve café"), "Zażółć gęślą jaźń",
    "Привет, мир", "日本語のテキスト", "한국어",
    "עברית", "العربية", "ไทย", "हिन्दी", "👩‍👩‍👧‍👦🏳️‍🌈🇩🇪", "①②½٣۴",
    "\u00a0\u2003\u200b\ufeff", "\r\n\r", "\x00\x07\x7f", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
    "<|im_start|>user\nhi<|im_end|>\n", "<|endoftext|><|endoftext|>", "a<|im_end|>b <|im_end|> c", "<|im_en", "<repo_name>x",
    "<file_sep><filename>a.py<gh_stars>5", "https://example.com/a?b=c&d=%20#e", "\\n\\t\"'`~!@#$%^&*()_+-=[]{}|;:,./<>?",
]


def drawn(seed):
    """Characters from all planes but surrogates, among words and digits."""
    source = random.Random(seed)

    def piece():
        kind = source.randrange(4)
        if kind == 0:
            return chr(source.choice([source.randrange(0xD800), source.randrange(0xE000, 0x110000)]))
        number = str(source.randrange(10**6))
        return source.choice([" the", "\n", "  ", "In", number, "<|im_start|>", "'s", "é", ".", "—"])

    return "".join(piece() for _ in range(source.randrange(1, 60)))


def of_worker(text):
    return post("/tokenize", {"prompt": text})["tokens"]


def same(text):
    ours, theirs = of_worker(text), tokenizer.encode(text)
    assert ours == theirs, f"{text!r} is {ours} by the worker, {theirs} by the folder"


@check(f"{len(TEXTS)} texts: languages, code, digits, special tokens")
def _():
    for text in TEXTS:
        same(text)


@check("500 random texts")
def _():
    for seed in range(500):
        same(drawn(seed))


@check("a long document")
def _():
    root = Path(__file__).parents[3]
    for text in (path.read_text() for path in [root / "docs" / "reference" / "log.md", Path(__file__)]):
        same(text)


@check("decoding gives the text back")
def _():
    for text in TEXTS:
        equal(tokenizer.decode(tokenizer.encode(text)), text)
        equal(post("/detokenize", {"tokens": of_worker(text)})["prompt"], text)


@check("chat template")
def _():
    longer = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Yo"), ("user", "Bye 🎉")]
    for messages in ([("user", "Hi")], longer):
        messages = [{"role": role, "content": content} for role, content in messages]
        rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        equal(tokenizer.encode(rendered), post("/tokenize", {"messages": messages})["tokens"])


@check("config.json, special tokens, model_max_length")
def _():
    config = AutoConfig.from_pretrained(PAIR.tokenizer)
    limit = post("/tokenize", {"prompt": "a"})["max_model_len"]
    equal((config.vocab_size, config.max_position_embeddings), (len(tokenizer), limit))
    equal((config.bos_token_id, config.eos_token_id), (tokenizer.bos_token_id, tokenizer.eos_token_id))
    equal(tokenizer.model_max_length, limit)
