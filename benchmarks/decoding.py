"""Time constrained decoding, compared with transformers' own generate().

    python benchmarks/decoding.py
    python benchmarks/decoding.py --queries 8 --beams 20 --groups 4 --only speed

A Llama of 134 M parameters with random weights, prompts of 80 random tokens, and an index of
100,000 synthetic documents of 100 tokens. In one run:

- speed: in turn, each query is decoded by transformers' beam search with the same constraint as a
  plain `prefix_allowed_tokens_fn`; by `diverse_beam_search` with a row per beam, the prompt
  computed once; and by `TreeSearch`. All use one group, so that the results are comparable: clues
  and scores of `TreeSearch` are compared with those of transformers (both with the end token
  scored) and of the rows. With `--groups` the last two are also timed with that many groups.
- constraint: time per step of the constraint in these searches, as a mask and in the tree.
- cost: `TreeSearch` for batches of 1, 4, 16 queries, and for 1, 5, 20, 50 beams.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from fm_index import synthetic_documents
from transformers import LlamaConfig, LlamaForCausalLM

from gemkr_hf.decoding import FMIndexConstraint, TreeScorer, TreeSearch
from gemkr_hf.index import FMIndex
from gemkr_hf.modeling import diverse_beam_search

EOS, SPECIAL, SHORTEST, LONGEST = 2, 5, 10, 15


def make_model(hidden_size: int, layers: int, vocab_size: int) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocab_size, hidden_size=hidden_size, intermediate_size=8 * hidden_size // 3,
        num_hidden_layers=layers, num_attention_heads=hidden_size // 64 or 1, pad_token_id=0,
        eos_token_id=EOS,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():  # sharper than at the start, as a trained model's choices are
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(2)
    return model


def plain_constraint(index: FMIndex, prompt_length: int) -> Callable[[int, torch.Tensor], list]:
    """The constraint as a user would write it without this package."""

    def allowed(_: int, ids: torch.Tensor) -> list[int]:
        clue = ids[prompt_length:].tolist()
        if EOS in clue or len(clue) >= LONGEST:
            return [EOS]
        if len(clue) >= SHORTEST and index.valid_distinct([clue])[0]:
            return [EOS]
        return index.get_next([clue])[0].tolist() or [EOS]

    return allowed


def clues_of(output: Any, prompt_length: int) -> list[tuple[tuple[int, ...], float]]:
    clues = output.sequences[:, prompt_length:].tolist()
    return [
        (tuple(token for token in clue if token not in (0, EOS)), score)
        for clue, score in zip(clues, output.sequences_scores.tolist(), strict=True)
        if score > -torch.inf
    ]


Inputs = dict[str, torch.Tensor]


class Bench:
    """The model, the index and the queries of one run."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        vocabulary = arguments.vocab_size - SPECIAL
        documents = synthetic_documents(int(arguments.tokens), vocabulary, 100, seed=0)
        self.num_documents = len(documents)
        self.index = FMIndex.build(
            [document + SPECIAL for document in documents], vocab_size=arguments.vocab_size
        )
        self.model = make_model(arguments.hidden_size, arguments.layers, arguments.vocab_size)
        self.constraint = FMIndexConstraint(self.index, EOS, SHORTEST, LONGEST)
        self.rng = np.random.default_rng(1)

    def queries(self, number: int) -> Inputs:
        shape = (number, self.arguments.prompt)
        ids = torch.from_numpy(self.rng.integers(SPECIAL, self.arguments.vocab_size, shape))
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def core(self, inputs: Inputs) -> Any:
        beams = self.arguments.beams
        return self.model.generate(
            **inputs, **COMMON, num_beams=beams, num_return_sequences=beams, output_scores=True,
            prefix_allowed_tokens_fn=plain_constraint(self.index, self.arguments.prompt),
        )  # fmt: skip

    def rows(self, inputs: Inputs, groups: int = 1) -> Any:
        beams = self.arguments.beams
        return diverse_beam_search(
            self.model, inputs, self.constraint, **COMMON, num_beams=beams, num_beam_groups=groups,
            diversity_penalty=0.5 if groups > 1 else 0.0, num_return_sequences=beams,
        )  # fmt: skip

    def tree(self, inputs: Inputs, groups: int = 1, beams: int = 0, **options: Any) -> Any:
        beams = beams or self.arguments.beams
        penalty = 0.5 if groups > 1 else 0.0
        search = TreeSearch(
            self.model, self.constraint, beams, groups, penalty, wanted=beams, **options
        )
        return search.run(inputs)


COMMON = {"max_new_tokens": LONGEST + 1, "return_dict_in_generate": True, "length_penalty": 0.0}


def same(theirs: list[tuple[tuple[int, ...], float]], ours: Any) -> bool:
    """Whether two lists hold the same clues with the same scores, in the same order."""
    clues = [(clue.token_ids, clue.score) for clue in ours]
    return [tokens for tokens, _ in theirs] == [tokens for tokens, _ in clues] and np.allclose(
        [score for _, score in theirs], [score for _, score in clues], rtol=0, atol=1e-3
    )


def compare_speed(bench: Bench) -> None:
    groups, length = bench.arguments.groups, bench.arguments.prompt
    ways: dict[str, Callable[[Inputs], Any]] = {
        "generate(prefix_allowed_tokens_fn)": bench.core,
        "diverse_beam_search, row by row": bench.rows,
        "TreeSearch": bench.tree,
    }
    if groups > 1:
        ways[f"diverse_beam_search, {groups} groups"] = lambda inputs: bench.rows(inputs, groups)
        ways[f"TreeSearch, {groups} groups"] = lambda inputs: bench.tree(inputs, groups)
    times: dict[str, list[float]] = {name: [] for name in ways}
    equal = {"transformers": 0, "row by row": 0}
    for number in range(bench.arguments.queries + 1):
        inputs = bench.queries(1)
        results = {}
        for name, decode in ways.items():
            started = time.perf_counter()
            results[name] = decode(inputs)
            if number:  # the first query warms up
                times[name].append(time.perf_counter() - started)
        [scored] = bench.tree(inputs, score_eos=True)
        # What is still ambiguous at the end comes back from a plain function, and not from ours.
        theirs = [
            (clue, score)
            for clue, score in clues_of(results["generate(prefix_allowed_tokens_fn)"], length)
            if bench.index.valid_distinct([clue])[0]
        ]
        equal["transformers"] += same(theirs, scored[: len(theirs)])
        by_rows = clues_of(results["diverse_beam_search, row by row"], length)
        equal["row by row"] += same(by_rows, results["TreeSearch"][0])
    parameters = sum(parameter.numel() for parameter in bench.model.parameters())
    print(
        f"{parameters / 1e6:.0f} M parameters, {bench.num_documents:,} documents, prompts of "
        f"{length} tokens, {bench.arguments.beams} beams; medians of {bench.arguments.queries} "
        f"single queries, {torch.get_num_threads()} threads\n"
    )
    print("| search | s per query | speed-up |")
    print("|---|---|---|")
    base = statistics.median(times["generate(prefix_allowed_tokens_fn)"])
    for name, taken in times.items():
        median = statistics.median(taken)
        print(f"| {name} | {median:.3f} | {base / median:.1f} |")
    for name, number in equal.items():
        print(
            f"\nTreeSearch finds the clues of {name} with their scores (to 0.001) in {number} of "
            f"{bench.arguments.queries + 1} queries",
            end="",
        )
    print("\n")


class Clock:
    """Adds up the time that wrapped functions take."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.taken.append(time.perf_counter() - started)

        return timed


def measure_constraint(bench: Bench) -> None:
    """Time per step of the constraint, as a mask over rows and in the tree."""
    groups = bench.arguments.groups
    whole, mask, advance = Clock(), Clock(), Clock()
    constraint = FMIndexConstraint
    original_call, original_advance = constraint.__call__, TreeScorer.advance
    searches: dict[str, tuple[Callable[[Inputs], Any], Clock]] = {
        "mask (`logits_processor`)": (lambda inputs: bench.rows(inputs, groups), mask),
        "tree (`TreeSearch`)": (lambda inputs: bench.tree(inputs, groups), advance),
    }
    print(
        f"| constraint, {bench.arguments.beams} beams | us per step | us, later steps "
        "| share of the time |"
    )
    print("|---|---|---|---|")
    constraint.__call__ = mask.around(original_call)  # type: ignore[method-assign]
    TreeScorer.advance = advance.around(original_advance)  # type: ignore[method-assign]
    try:
        for name, (search, clock) in searches.items():
            steps: list[list[float]] = []
            whole.taken.clear()
            for number in range(bench.arguments.queries + 1):
                clock.taken.clear()
                inputs = bench.queries(1)
                whole.around(search)(inputs)
                if number:
                    steps.append(list(clock.taken))
            share = sum(map(sum, steps)) / sum(whole.taken[1:])
            # At first all tokens are allowed, then thousands for each beam.
            later = statistics.median(step for query in steps for step in query[2:])
            every = statistics.mean(step for query in steps for step in query)
            print(f"| {name} | {every * 1e6:.0f} | {later * 1e6:.0f} | {share:.1%} |")
    finally:
        constraint.__call__ = original_call  # type: ignore[method-assign]
        TreeScorer.advance = original_advance  # type: ignore[method-assign]
    print()


def measure_cost(bench: Bench) -> None:
    """Time by batch size and number of beams; the settings take turns."""
    queries = [1, 4, 16]
    beams = [1, 5, 20, 50]
    settings = [(number, bench.arguments.beams) for number in queries]
    settings += [(1, number) for number in beams if number != bench.arguments.beams]
    times: dict[tuple[int, int], list[float]] = {setting: [] for setting in settings}
    for turn in range(max(1, bench.arguments.queries // 2) + 1):
        for number, width in settings:
            inputs = bench.queries(number)
            started = time.perf_counter()
            bench.tree(inputs, groups=1, beams=width)
            if turn:
                times[number, width].append((time.perf_counter() - started) / number)
    medians = {setting: statistics.median(taken) for setting, taken in times.items()}
    base = medians[1, bench.arguments.beams]
    print(f"| batch size, {bench.arguments.beams} beams | s per query | relative |")
    print("|---|---|---|")
    for number in queries:
        median = medians[number, bench.arguments.beams]
        print(f"| {number} | {median:.3f} | {median / base:.2f} |")
    print("\n| beams, one query | s per query | relative |")
    print("|---|---|---|")
    for width in sorted({*beams, bench.arguments.beams}):
        print(f"| {width} | {medians[1, width]:.3f} | {medians[1, width] / base:.2f} |")


PARTS = {"speed": compare_speed, "constraint": measure_constraint, "cost": measure_cost}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=6)
    parser.add_argument("--beams", type=int, default=20)
    parser.add_argument("--groups", type=int, default=4)
    parser.add_argument("--tokens", type=float, default=1.01e7, help="of all documents")
    parser.add_argument("--vocab-size", type=int, default=32_000)
    parser.add_argument("--hidden-size", type=int, default=768)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--prompt", type=int, default=80, help="tokens")
    parser.add_argument("--only", choices=list(PARTS), help="one part of it")
    arguments = parser.parse_args()
    bench = Bench(arguments)
    for name, part in PARTS.items():
        if arguments.only in (None, name):
            part(bench)


if __name__ == "__main__":
    main()
