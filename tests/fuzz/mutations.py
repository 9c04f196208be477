"""Seeded damage: what breaks readers of files, applied to bytes; the same seed gives the same bytes."""

import random
import re
import struct
from collections.abc import Callable, Sequence

Mutation = Callable[[random.Random, bytes], bytes]

# Values at which counters and lengths go wrong.
_EDGES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_WORDS = (
    b"NaN", b"Infinity", b"-1", b"1e999", b"null", b"true", b"[]", b"{}", b'""', b"0", b"-0.0", b"99999999999999999999",
    "ä\u202e\u0000".encode(), b"\xff\xfe", b"../../x", b"=1+1", b"\r", b"\x1a", b"'; --", b'"', b",", b";",
)  # fmt: skip


def flipped(rng: random.Random, data: bytes) -> bytes:
    """A few bits changed."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(rng: random.Random, data: bytes) -> bytes:
    """The beginning only."""
    return data[: rng.randrange(len(data))]


def headed(rng: random.Random, data: bytes) -> bytes:
    """A few bytes changed in the first hundred, where formats keep what they are."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 2, 4))):
        changed[rng.randrange(min(len(changed), 100))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return bytes(changed)


def lengthened(rng: random.Random, data: bytes) -> bytes:
    """A field of two or four bytes set to a value at the edge of its range."""
    size, letter = rng.choice(((2, "H"), (4, "I")))
    at = rng.randrange(max(1, min(len(data) - size, rng.choice((64, 512, len(data))))))
    value = rng.choice(_EDGES) & (256**size - 1)
    return data[:at] + struct.pack(rng.choice("<>") + letter, value) + data[at + size :]


def without(rng: random.Random, data: bytes) -> bytes:
    """A piece taken out of the middle."""
    first, last = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return data[:first] + data[last:]


def repeated(rng: random.Random, data: bytes) -> bytes:
    """A piece over and over."""
    at = rng.randrange(len(data))
    piece = data[at : at + rng.choice((1, 4, 16, 256))]
    return data[:at] + piece * rng.choice((2, 100, 10_000)) + data[at:]


def swapped(rng: random.Random, data: bytes) -> bytes:
    """Two pieces in each other's place."""
    a, b, c = sorted(rng.randrange(len(data) + 1) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def inserted(rng: random.Random, data: bytes) -> bytes:
    """Words that readers trip over."""
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(_WORDS) * rng.choice((1, 1, 1, 50)) + data[at:]


def exchanged(rng: random.Random, data: bytes) -> bytes:
    """A number or a word of a text in place of another."""
    places = list(re.finditer(rb"[A-Za-z_]{2,}|-?\d+(?:\.\d+)?", data[:20_000]))
    if not places:
        return inserted(rng, data)
    place = rng.choice(places)
    other = rng.choice((rng.choice(_WORDS), rng.choice(places)[0]))
    return data[: place.start()] + other + data[place.end() :]


def nested(rng: random.Random, data: bytes) -> bytes:
    """Brackets within brackets, thousands deep."""
    at = rng.randrange(len(data) + 1)
    opening, closing = rng.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"(", b")")))
    depth = rng.choice((10, 1_000, 100_000))
    return data[:at] + opening * depth + rng.choice((b"", b"0" + closing * depth)) + data[at:]


def spliced(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """The beginning of one file and the end of another."""
    other = rng.choice(others)
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


BINARY: Sequence[Mutation] = (flipped, flipped, cut, headed, headed, lengthened, lengthened, without, repeated, swapped)
TEXT: Sequence[Mutation] = (
    exchanged,
    exchanged,
    exchanged,
    inserted,
    inserted,
    nested,
    flipped,
    cut,
    without,
    repeated,
)


def mutated(rng: random.Random, seeds: Sequence[bytes], mutations: Sequence[Mutation]) -> bytes:
    """One of the seeds, damaged once or a few times; never longer than some megabytes."""
    data = rng.choice(seeds)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if data:
            mutation = rng.choice([*mutations, None])
            data = spliced(rng, data, seeds) if mutation is None else mutation(rng, data)
        data = data[: 4 * 2**20]
    return data
