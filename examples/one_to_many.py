"""One to many: a beginning in, a sequence out, fed back on the server. Here: a character model that writes Python.

With `make serve` running, from the repository's root: python -m examples.one_to_many
"""

import sys

import elman

PROMPT = "\fdef read_"  # a form feed begins a file


def ids_of(text: str) -> list[int]:
    """ASCII codes: the model's tokens."""
    return list(text.encode("ascii"))


def main(address: str = "localhost:8470") -> str:
    """Lets the model go on from the prompt, drawn and by beam search; what was drawn."""
    with elman.Client(address) as client:
        model = client.model("char-lm")
        with model.session() as session:
            drawn = session.generate(150, prompt=ids_of(PROMPT), temperature=0.5, top_k=40, seed=7)
            text = "".join(chr(token) for token in drawn)  # they come as they are made
        with model.session() as session:
            likely = "".join(chr(token) for token in session.generate(40, prompt=ids_of(PROMPT), beams=4))
    print("  " + (PROMPT.strip() + text).replace("\n", "\n  "))
    print(f"  the likeliest that four beams find: {PROMPT.strip() + likely!r}")
    return text


if __name__ == "__main__":
    main(*sys.argv[1:])
