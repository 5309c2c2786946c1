"""Size and speed of the FM-index.

    python benchmarks/fm_index.py --tokens 1e6 1e7
    python benchmarks/fm_index.py --text book.txt --tokenizer org/model

The text is synthetic and seeded, unless files are given: Zipf's law for single tokens, and each
token has a few preferred successors, as words do; its entropies are those of English (H0 about
12.2, H1 about 6.7 bits). Files are split into documents at empty lines.

For comparison, the report shows the numbers of SEAL's FM-index (sdsl-lite `csa_wt_int` through
SWIG), measured on 51 million tokens of technical English with a vocabulary of 32,000 on 2 cores of
the same kind, and how many times faster or smaller this one is. If pysdsl is installed, its backend
is measured in the same run.

Every query is made once, with other tokens than the previous one: a decoder's queries are not in
the cache either. Each size runs in a process of its own, to measure its peak memory.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from gemkr_hf.index import FMIndex
from gemkr_hf.index.fm_index import LIST_THRESHOLD, SAMPLE_RATE

SEAL = {
    "build, million tokens/s": 0.74,
    "bytes per token": 2.88,
    "load, ms": 370,
    "GetNext after 1 token, us per prefix": 919,
    "GetNext after 2 tokens, us per prefix": 101,
    "GetNext after 4 tokens, us per prefix": 25,
    "GetNext after 10 tokens, us per prefix": 40,
    "lookup_doc of a clue, us": 110,
    "extract, us per document": 585,
}
BEAMS = 20
CALLS = 200
PYSDSL_TOKENS = 1_000_000


@njit
def _draw(uniform, unigram):
    """Tokens: mostly one of the few successors of the token before, else any by its frequency."""
    tokens = np.empty(len(uniform), np.int32)
    token = 0
    for position in range(len(uniform)):
        first, second = uniform[position]
        if first < 0.72:
            # The rank of the successor is log-uniform among 96; a hash gives its token.
            rank = int(96.0**second)
            mixed = (token * 2654435761 + rank * 40503) & 0x7FFFFFFF
            token = unigram[mixed % len(unigram)]
        else:
            token = unigram[int(second * len(unigram))]
        tokens[position] = token
    return tokens


def synthetic_documents(tokens: int, vocab_size: int, length: int, seed: int) -> list[np.ndarray]:
    """Documents of `length` tokens on average."""
    rng = np.random.default_rng(seed)
    frequency = 1.0 / (np.arange(vocab_size) + 2.7) ** 0.9
    unigram = rng.choice(vocab_size, size=2**20, p=frequency / frequency.sum()).astype(np.int32)
    unigram = rng.permutation(vocab_size).astype(np.int32)[unigram]
    part = 10_000_000
    text = np.concatenate(
        [_draw(rng.random((min(part, tokens - at), 2)), unigram) for at in range(0, tokens, part)]
    )
    lengths = rng.integers(length // 2, length * 3 // 2 + 1, size=tokens // length)
    return np.split(text, np.cumsum(lengths)[np.cumsum(lengths) < tokens])


def read_documents(paths: Sequence[Path], name: str) -> tuple[list[np.ndarray], int]:
    """Paragraphs of text files as token ids, and the size of the vocabulary."""
    from gemkr_hf.knowledge_base import encode_documents, load_tokenizer

    tokenizer = load_tokenizer(name)
    texts = [
        " ".join(paragraph.split())
        for path in paths
        for paragraph in re.split(r"\n\s*\n", path.read_text(encoding="utf-8", errors="replace"))
        if paragraph.strip()
    ]
    documents = []
    for first in range(0, len(texts), 1000):
        documents += encode_documents(texts[first : first + 1000], tokenizer)
    return [np.array(tokens, dtype=np.int32) for tokens in documents], len(tokenizer)


def entropies(documents: list[np.ndarray]) -> tuple[float, float]:
    """Entropy of a token, H0, and of a token given the one before it, H1, in bits.

    Computed on at most twenty million tokens.
    """
    text = np.concatenate(documents)[:20_000_000].astype(np.int64)

    def bits(values: np.ndarray) -> float:
        counts = np.unique(values, return_counts=True)[1]
        return float(np.log2(len(values)) - (counts * np.log2(counts)).sum() / len(values))

    single, pairs = bits(text), bits(text[:-1] << 32 | text[1:])
    return single, pairs - single


def microseconds(calls: Sequence[Callable[[], object]]) -> float:
    """Median time of calls, without the first tenth of them."""
    times = []
    for call in calls:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times[len(times) // 10 :])) * 1e6


def reset_peak_memory() -> float:
    """Reset the peak (Linux only); return the current memory of this process, GB."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_memory()


def peak_memory() -> float:
    """Peak memory of this process since `reset_peak_memory`, GB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024 / 1e9


def measure(
    documents: list[np.ndarray], vocab_size: int, seed: int, **options: Any
) -> dict[str, float]:
    """Measure building, saving, loading and queries of one corpus."""
    FMIndex.build(documents[:50], vocab_size=vocab_size, **options)  # compiles, or reads the cache
    total = sum(map(len, documents))
    corpus = reset_peak_memory()
    start = time.perf_counter()
    index = FMIndex.build(documents, vocab_size=vocab_size, **options)
    seconds = time.perf_counter() - start
    numbers = {
        "build, million tokens/s": total / seconds / 1e6,
        "peak memory of building, bytes per token": (peak_memory() - corpus) * 1e9 / total,
    }
    with tempfile.TemporaryDirectory() as folder:
        index.save(folder)
        on_disk = sum(path.stat().st_size for path in Path(folder).iterdir())
        numbers["bytes per token"] = on_disk / total
        start = time.perf_counter()
        index = FMIndex.load(folder, backend=index.backend, verify=False)
        numbers["load, ms"] = (time.perf_counter() - start) * 1e3
        numbers |= measure_queries(index, documents, seed)
    return numbers


def measure_queries(index: FMIndex, documents: list[np.ndarray], seed: int) -> dict[str, float]:
    """Measure queries."""
    rng, numbers = np.random.default_rng(seed), {}

    def cut(length: int, number: int) -> np.ndarray:
        clues: list[np.ndarray] = []
        while len(clues) < number:
            document = documents[rng.integers(len(documents))]
            if len(document) > length:
                start = rng.integers(len(document) - length)
                clues.append(document[start : start + length])
        return np.stack(clues)

    for length in (1, 2, 4, 10):
        steps = []
        for _ in range(CALLS):
            clues = cut(length, BEAMS)
            steps.append((index.search(clues[:, :-1]), clues[:, -1]))
        extends = [lambda s=step: index.extend(*s) for step in steps]
        after = [index.extend(*step) for step in steps]
        follows = [lambda i=intervals: index.successors(i) for intervals in after]
        name = f"after {length} token{'s'[: length > 1]}, us per prefix"
        numbers[f"extend {name}"] = microseconds(extends) / BEAMS
        numbers[f"successors {name}"] = microseconds(follows) / BEAMS
        numbers[f"GetNext {name}"] = numbers[f"extend {name}"] + numbers[f"successors {name}"]
    single = [cut(12, 1) for _ in range(CALLS)]
    twenty = [cut(12, BEAMS) for _ in range(CALLS)]
    numbers["lookup_doc of a clue, us"] = microseconds(
        [lambda c=clue: index.lookup_doc(c) for clue in single]
    )
    repeated = single[0]
    numbers["lookup_doc of a repeated clue, us"] = microseconds(
        [lambda: index.lookup_doc(repeated)] * CALLS
    )
    numbers["lookup_doc of 20 clues, us each"] = (
        microseconds([lambda c=clues: index.lookup_doc(c) for clues in twenty]) / BEAMS
    )
    rows = rng.integers(len(documents), size=CALLS).tolist()
    numbers["extract, us per document"] = microseconds(
        [lambda r=row: index.extract(r) for row in rows]
    )
    numbers["extract of a repeated document, us"] = microseconds(
        [lambda: index.extract(rows[0])] * CALLS
    )
    return numbers


def run(arguments: argparse.Namespace, tokens: int) -> dict[str, Any]:
    """Measure one size: entropies, and the numbers of each backend."""
    vocab_size = arguments.vocab_size
    if arguments.text:
        documents, vocab_size = read_documents(arguments.text, arguments.tokenizer)
    else:
        documents = synthetic_documents(
            tokens, vocab_size, arguments.document_length, arguments.seed
        )
    single, pair = entropies(documents)
    options = {
        "list_threshold": arguments.list_threshold,
        "sample_rate": arguments.sample_rate,
        "threads": arguments.threads,
    }
    record: dict[str, Any] = {
        "tokens": sum(map(len, documents)),
        "documents": len(documents),
        "H0": single,
        "H1": pair,
        "here": measure(documents, vocab_size, arguments.seed, **options),
    }
    record["peak memory, GB"] = peak_memory()
    from gemkr_hf.index import pysdsl_backend

    if pysdsl_backend.pysdsl is not None:
        few = np.searchsorted(np.cumsum([len(d) for d in documents]), PYSDSL_TOKENS)
        few_documents = documents[: int(few) + 1]
        record["pysdsl tokens"] = sum(map(len, few_documents))
        record["pysdsl"] = measure(few_documents, vocab_size, arguments.seed, backend="pysdsl")
    return record


def report(record: dict[str, Any]) -> str:
    """Format a record."""
    lines = [
        f"{record['tokens']:,} tokens in {record['documents']:,} documents; entropy of a token "
        f"H0 = {record['H0']:.1f} bits ({record['H0'] / 8:.2f} bytes), after the one before it "
        f"H1 = {record['H1']:.1f} bits ({record['H1'] / 8:.2f} bytes)",
        f"peak memory, including the corpus: {record['peak memory, GB']:.2f} GB",
        f"{'':48}{'here':>10}{'SEAL':>10}{'better by':>11}"
        + (f"{'pysdsl':>12}" if "pysdsl" in record else ""),
    ]
    for name, value in record["here"].items():
        line = f"{name:48}{value:10.2f}"
        if name in SEAL:
            more_is_better = name.startswith("build")
            ratio = value / SEAL[name] if more_is_better else SEAL[name] / value
            line += f"{SEAL[name]:10.2f}{ratio:10.1f}x"
        elif "pysdsl" in record:
            line += " " * 21
        if "pysdsl" in record:
            line += f"{record['pysdsl'][name]:12.2f}"
        lines.append(line.rstrip())
    if "pysdsl" in record:
        lines.append(f"pysdsl: the first {record['pysdsl tokens']:,} tokens")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=float, nargs="+", default=[1e6])
    parser.add_argument("--vocab-size", type=int, default=32_000)
    parser.add_argument("--document-length", type=int, default=100)
    parser.add_argument("--text", type=Path, nargs="+", help="files instead of synthetic text")
    parser.add_argument("--tokenizer", help="folder or Hub id, for --text")
    parser.add_argument("--list-threshold", type=int, nargs="+", default=[LIST_THRESHOLD])
    parser.add_argument("--sample-rate", type=int, nargs="+", default=[SAMPLE_RATE])
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="also write the numbers as JSON")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.text and not arguments.tokenizer:
        parser.error("--text needs --tokenizer")
    if arguments.one:
        arguments.list_threshold = arguments.list_threshold[0]
        arguments.sample_rate = arguments.sample_rate[0]
        print(json.dumps(run(arguments, int(arguments.tokens[0]))))
        return
    records = []
    sizes = arguments.tokens[:1] if arguments.text else arguments.tokens
    several = len(arguments.list_threshold) * len(arguments.sample_rate) > 1
    for tokens, threshold, rate in product(sizes, arguments.list_threshold, arguments.sample_rate):
        command = [sys.executable, __file__, "--one", *sys.argv[1:], "--tokens", str(tokens)]
        command += ["--list-threshold", str(threshold), "--sample-rate", str(rate)]
        output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        record = {**json.loads(output), "list_threshold": threshold, "sample_rate": rate}
        records.append(record)
        if several:
            print(f"list_threshold={threshold}, sample_rate={rate}")
        print(report(record) + "\n", flush=True)
    if arguments.output:
        arguments.output.write_text(json.dumps(records, indent=2) + "\n")


if __name__ == "__main__":
    main()
