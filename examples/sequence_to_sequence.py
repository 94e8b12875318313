"""Sequence to sequence: a decoder's session begins from an encoder's, on the server. Here: dates, written out.

With `make serve` running, from the repository's root: python -m examples.sequence_to_sequence
"""

import asyncio
import sys

import elman
from models.bundles.dates.data import ISO_CHARACTERS, ISO_LENGTH, START, held_out, to_ids


async def translate(address: str, texts: list[str]) -> tuple[list[str], str]:
    """Each text's date as ISO 8601 has it; and the share that the model card says is right."""
    async with elman.AsyncClient(address) as client:
        encoder, decoder = await client.model("dates-encoder"), await client.model("dates-decoder")

        async def one(text: str) -> str:
            async with encoder.session() as reading:
                await reading.step(to_ids(text), returning="none")
                async with decoder.session(from_=reading) as writing:
                    written = writing.generate(ISO_LENGTH, prompt=[START], temperature=0.0)
                    return "".join([ISO_CHARACTERS[token] async for token in written])

        return await asyncio.gather(*map(one, texts)), decoder.info.metadata["held_out_exact"]


def main(address: str = "localhost:8470", *, num: int = 500) -> float:
    """Translates dates that the model has not learned from; the share that is exactly right."""
    pairs = held_out(num)
    said, card = asyncio.run(translate(address, [text for text, _ in pairs]))
    for (text, _), iso in zip(pairs[:6], said, strict=False):
        print(f"  {text:>36} -> {iso}")
    exact = sum(iso == right for iso, (_, right) in zip(said, pairs, strict=True)) / len(pairs)
    print(f"  {exact:.4f} of {len(pairs)} held-out dates are exactly right; the model card says {card} of all")
    return exact


if __name__ == "__main__":
    main(*sys.argv[1:])
