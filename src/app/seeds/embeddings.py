"""Embeddings without a model: points around one centre per topic, so that a nearest-neighbour search makes sense.

A vector is 24 blocks of 16 dimensions. Every topic has 16 encoded variants of each block, its centre with a little
noise, and a vector joins one variant of each: 16^24 vectors per topic for the price of 24 look-ups. Two vectors of one
topic have a cosine distance of about 0.2, two of different topics one of about 1.
"""

from functools import cache
from struct import pack
from typing import Final

from app.db.binary_copy import vector_header
from app.seeds.plan import generator

DIMENSIONS: Final = 384
BLOCKS: Final = 24
WIDTH: Final = DIMENSIONS // BLOCKS
DIGITS: Final = "0123456789abcdef"
SPREAD: Final = 0.5
"""How far noise reaches, where the centre's coordinates reach 1."""
UNIT: Final = 0.079
"""Brings a vector's length to about 1, the usual length of an embedding."""
HEADER: Final = vector_header(DIMENSIONS)

Block = dict[str, bytes]


def centre(topic: str) -> list[float]:
    """The middle of a topic: the query vector whose nearest messages speak of it."""
    rng = generator(f"embeddings: {topic}")
    return [UNIT * (2 * rng.random() - 1) for _ in range(DIMENSIONS)]


@cache
def blocks(topic: str) -> tuple[Block, ...]:
    """A topic's block variants, each under the hexadecimal digit that selects it."""
    middle, rng = centre(topic), generator(f"embedding noise: {topic}")
    return tuple(
        {
            digit: pack(f">{WIDTH}f", *(x + UNIT * SPREAD * (2 * rng.random() - 1) for x in middle[at : at + WIDTH]))
            for digit in DIGITS
        }
        for at in range(0, DIMENSIONS, WIDTH)
    )


def embedding(variants: tuple[Block, ...], digits: str) -> bytes:
    """The vector that 24 hexadecimal digits select from a topic's blocks, in pgvector's binary form."""
    return HEADER + b"".join([variant[digit] for variant, digit in zip(variants, digits, strict=True)])
