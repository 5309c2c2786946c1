"""Size and speed of the FM-index.

    python benchmarks/fm_index.py --tokens 1e6 --vocab-size 32000

The text is synthetic and seeded: Zipf's law for single tokens, and each token prefers a few
followers, as words do. Beside it stand the figures of SEAL's FM-index (sdsl-lite `csa_wt_int`
through SWIG) on 51 million tokens of technical English with a vocabulary of 32 000 on 2 cores.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numba import njit

from gemkr_hf.index import FMIndex

SEAL = {
    "build, million tokens/s": 0.74,
    "bytes per token": 2.88,
    "load, ms": 370,
    "GetNext after 1 tokens, us a prefix": 919,
    "GetNext after 2 tokens, us a prefix": 101,
    "GetNext after 4 tokens, us a prefix": 25,
    "GetNext after 10 tokens, us a prefix": 40,
    "lookup_doc of 12 tokens, us": 110,
    "extract, us a document": 585,
}
BEAMS = 20


@njit
def _draw(uniform, unigram, vocab_size):
    """Tokens: mostly one of the few followers of the token before, else any by its frequency."""
    tokens = np.empty(len(uniform), np.int32)
    token = 0
    for place in range(len(uniform)):
        first, second = uniform[place]
        if first < 0.75:
            # The rank of the follower is log-uniform among 64; which token it is, a hash says.
            rank = int(64.0**second)
            mixed = (token * 2654435761 + rank * 40503) & 0x7FFFFFFF
            token = unigram[mixed % len(unigram)]
        else:
            token = unigram[int(second * len(unigram))]
        tokens[place] = token
    return tokens


def synthetic_documents(tokens: int, vocab_size: int, length: int, seed: int) -> list[np.ndarray]:
    """Documents of `length` tokens on average."""
    rng = np.random.default_rng(seed)
    frequency = 1.0 / (np.arange(vocab_size) + 2.7)
    unigram = rng.choice(vocab_size, size=2**20, p=frequency / frequency.sum()).astype(np.int32)
    unigram = rng.permutation(vocab_size).astype(np.int32)[unigram]
    text = _draw(rng.random((tokens, 2)), unigram, vocab_size)
    lengths = rng.integers(length // 2, length * 3 // 2 + 1, size=tokens // length)
    return np.split(text, np.cumsum(lengths)[np.cumsum(lengths) < tokens])


def entropies(documents: list[np.ndarray]) -> tuple[float, float]:
    """H0 and H1 of the tokens in bits: of one alone, and of one after the token before it."""
    text = np.concatenate(documents).astype(np.int64)

    def bits(values: np.ndarray) -> float:
        counts = np.unique(values, return_counts=True)[1]
        return float(np.log2(len(values)) - (counts * np.log2(counts)).sum() / len(values))

    single, pairs = bits(text), bits(text[:-1] << 32 | text[1:])
    return single, pairs - single


def microseconds(call: Callable[[], object], repeat: int = 200) -> float:
    """Median time of a call."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1e6


def measure(documents: list[np.ndarray], vocab_size: int, seed: int) -> dict[str, float]:
    """All figures of one corpus."""
    FMIndex.build(documents[:10], vocab_size=vocab_size)  # compiles, or reads the cache
    total = sum(map(len, documents))
    start = time.perf_counter()
    index = FMIndex.build(documents, vocab_size=vocab_size)
    seconds = time.perf_counter() - start
    figures = {"build, million tokens/s": total / seconds / 1e6}
    with tempfile.TemporaryDirectory() as folder:
        index.save(folder)
        on_disk = sum(path.stat().st_size for path in Path(folder).iterdir())
        figures["bytes per token"] = on_disk / total
        start = time.perf_counter()
        index = FMIndex.load(folder, verify=False)
        figures["load, ms"] = (time.perf_counter() - start) * 1e3
    rng = np.random.default_rng(seed)

    def cut(length: int) -> np.ndarray:
        rows = rng.integers(len(documents), size=10 * BEAMS)
        rows = [row for row in rows if len(documents[row]) > length][:BEAMS]
        starts = [rng.integers(len(documents[row]) - length) for row in rows]
        return np.stack([documents[r][s : s + length] for r, s in zip(rows, starts, strict=True)])

    for length in (1, 2, 4, 10):
        steps, extends, follows = [], [], []
        for _ in range(20):
            clues = cut(length)
            before, last = index.search(clues[:, :-1]), clues[:, -1]
            after = index.extend(before, last)
            extends.append(microseconds(lambda: index.extend(before, last), 10))  # noqa: B023
            follows.append(microseconds(lambda: index.successors(after), 10))  # noqa: B023
            steps.append(extends[-1] + follows[-1])
        name = f"after {length} tokens, us a prefix"
        figures[f"extend {name}"] = float(np.mean(extends)) / BEAMS
        figures[f"successors {name}"] = float(np.mean(follows)) / BEAMS
        figures[f"GetNext {name}"] = float(np.mean(steps)) / BEAMS
        clues = cut(length)
    clues = cut(12)
    figures["lookup_doc of 12 tokens, us"] = microseconds(lambda: index.lookup_doc(clues[:1]))
    figures["lookup_doc of 12 tokens, us each of 20"] = (
        microseconds(lambda: index.lookup_doc(clues)) / BEAMS
    )
    figures["extract, us a document"] = microseconds(lambda: index.extract(len(documents) // 2))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=float, default=1e6)
    parser.add_argument("--vocab-size", type=int, default=32_000)
    parser.add_argument("--document-length", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="also write the figures as JSON")
    arguments = parser.parse_args()
    documents = synthetic_documents(
        int(arguments.tokens), arguments.vocab_size, arguments.document_length, arguments.seed
    )
    single, pair = entropies(documents)
    figures = measure(documents, arguments.vocab_size, arguments.seed)
    print(
        f"{sum(map(len, documents)):,} tokens in {len(documents):,} documents; entropy of a token "
        f"H0 = {single:.1f} bits, after the one before it H1 = {pair:.1f} bits"
    )
    print(f"{'':45}{'here':>10}{'SEAL':>10}")
    for name, value in figures.items():
        other = f"{SEAL[name]:10.2f}" if name in SEAL else ""
        print(f"{name:45}{value:10.2f}{other}")
    if arguments.output:
        record = {"tokens": int(arguments.tokens), "H0": single, "H1": pair, **figures}
        arguments.output.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
