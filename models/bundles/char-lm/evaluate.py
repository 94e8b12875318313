"""What the char-lm bundle is worth: held-out bits per character, file by file, or a sample.

From anywhere, with torch and safetensors installed:

    python evaluate.py                       # the model card's figures
    python evaluate.py --sample "def read_"  # let the bundle continue a prompt
"""

import argparse

import torch
from bundle import load_bundle
from corpus import SEPARATOR, STDLIB, held_out_files, read_characters
from network import as_tokens, sample, total_bits


def print_figures() -> None:
    """Bits per character of each held-out file, then over all their characters."""
    files = held_out_files()
    texts = [as_tokens(SEPARATOR.encode() + read_characters(path)) for path in files]
    num_chars = [len(text) - 1 for text in texts]
    bits = total_bits(load_bundle(), texts)
    for path, file_chars, file_bits in zip(files, num_chars, bits, strict=True):
        print(f"{file_bits / max(1, file_chars):7.3f}  {file_chars:8d}  {path.relative_to(STDLIB)}")
    print(f"{sum(bits) / sum(num_chars):7.3f}  {sum(num_chars):8d}  all {len(files)} held-out files")


def print_sample(prompt: str, num_chars: int, temperature: float, seed: int) -> None:
    """A prompt as the start of a file, and what the bundle writes after it, character by character."""
    characters = (SEPARATOR + prompt).encode("ascii", "replace")
    print(prompt, end="")
    for character in sample(load_bundle(), characters, num_chars, temperature, seed):
        print(character, end="", flush=True)
    print()


def main() -> None:
    """Do what the command line asks."""
    parser = argparse.ArgumentParser(description="Evaluate or sample the char-lm bundle.")
    parser.add_argument("--sample", metavar="PROMPT", help="continue a prompt instead of printing figures")
    parser.add_argument("--num-chars", type=int, default=1500, help="length of the sample")
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads for torch")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.sample is None:
        print_figures()
    else:
        print_sample(arguments.sample, arguments.num_chars, arguments.temperature, arguments.seed)


if __name__ == "__main__":
    main()
