"""Reads what stands before the weights in a GGUF file (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md)."""

import mmap
import struct

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
TEXT, ARRAY = 8, 9


class GgufError(Exception):
    """The file is not what it should be."""


def read_gguf(path):
    """The metadata by key, and the names of the tensors."""
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise GgufError(f"{path} is no GGUF file")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                return read(Reader(data))
            except (struct.error, UnicodeDecodeError, KeyError) as error:
                raise GgufError(f"{path} is broken before its weights: {error}") from error


def read(reader):
    version = reader.scalar("I")
    if version not in (2, 3):
        raise GgufError(f"GGUF version {version} is not supported, only 2 and 3")
    tensors, entries = reader.scalar("Q"), reader.scalar("Q")
    metadata = {}
    for _ in range(entries):
        key = reader.text()
        metadata[key] = reader.value(reader.scalar("I"))
    names = set()
    for _ in range(tensors):
        names.add(reader.text())
        for _ in range(reader.scalar("I")):
            reader.scalar("Q")
        reader.scalar("I"), reader.scalar("Q")
    return metadata, names


class Reader:
    def __init__(self, data):
        self.data, self.position = data, 4

    def scalar(self, code):
        return self.scalars(code, 1)[0]

    def scalars(self, code, count):
        layout = f"<{count}{code}"
        values = struct.unpack_from(layout, self.data, self.position)
        self.position += struct.calcsize(layout)
        return values

    def text(self):
        size = self.scalar("Q")
        end = self.position + size
        if end > len(self.data):
            raise struct.error(f"a text of {size} bytes goes beyond the end")
        text = self.data[self.position : end].decode()
        self.position = end
        return text

    def value(self, kind):
        if kind == TEXT:
            return self.text()
        if kind != ARRAY:
            return self.scalar(SCALARS[kind])
        kind, count = self.scalar("I"), self.scalar("Q")
        if kind in SCALARS:
            return list(self.scalars(SCALARS[kind], count))
        return [self.value(kind) for _ in range(count)]
