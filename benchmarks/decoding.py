"""Constrained decoding beside transformers' own generate().

    python benchmarks/decoding.py
    python benchmarks/decoding.py --queries 8 --beams 20 --groups 4

A Llama of 134 M parameters with random weights, prompts of 80 random tokens, and an index of
100,000 synthetic documents of 100 tokens. In one run, taking turns, each query is decoded by

- transformers' beam search with the same constraint as a plain `prefix_allowed_tokens_fn`,
- `diverse_beam_search`: the prompt computed once, a row of keys and values for each beam,
- `TreeSearch`: a token computed once, forced continuations together,

all with one group, so that they search for the same; the clues and scores of the last two are
compared, and with `--groups` both are timed with that many groups too.
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

from gemkr_hf.decoding import FMIndexConstraint, TreeSearch
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
    """What a user writes without this package's constraint."""

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=6)
    parser.add_argument("--beams", type=int, default=20)
    parser.add_argument("--groups", type=int, default=4)
    parser.add_argument("--tokens", type=float, default=1e7, help="of all documents")
    parser.add_argument("--vocab-size", type=int, default=32_000)
    parser.add_argument("--hidden-size", type=int, default=768)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--prompt", type=int, default=80, help="tokens")
    arguments = parser.parse_args()

    vocabulary = arguments.vocab_size - SPECIAL
    documents = synthetic_documents(int(arguments.tokens), vocabulary, 100, seed=0)
    index = FMIndex.build(
        [document + SPECIAL for document in documents], vocab_size=arguments.vocab_size
    )
    model = make_model(arguments.hidden_size, arguments.layers, arguments.vocab_size)
    constraint = FMIndexConstraint(index, EOS, SHORTEST, LONGEST)
    beams, length = arguments.beams, arguments.prompt
    rng = np.random.default_rng(1)
    common = {"max_new_tokens": LONGEST + 1, "return_dict_in_generate": True, "length_penalty": 0.0}

    def core(inputs: dict[str, torch.Tensor]) -> Any:
        return model.generate(
            **inputs, **common, num_beams=beams, num_return_sequences=beams, output_scores=True,
            prefix_allowed_tokens_fn=plain_constraint(index, length),
        )  # fmt: skip

    def rows(inputs: dict[str, torch.Tensor], groups: int = 1) -> Any:
        return diverse_beam_search(
            model, inputs, constraint, **common, num_beams=beams, num_beam_groups=groups,
            diversity_penalty=0.5 if groups > 1 else 0.0, num_return_sequences=beams,
        )  # fmt: skip

    def tree(inputs: dict[str, torch.Tensor], groups: int = 1) -> Any:
        penalty = 0.5 if groups > 1 else 0.0
        return TreeSearch(model, constraint, beams, groups, penalty, wanted=beams).run(inputs)

    ways: dict[str, Callable[[dict[str, torch.Tensor]], Any]] = {
        "generate(prefix_allowed_tokens_fn)": core,
        "diverse_beam_search": rows,
        "TreeSearch": tree,
    }
    if arguments.groups > 1:
        ways[f"diverse_beam_search, {arguments.groups} groups"] = lambda inputs: rows(
            inputs, arguments.groups
        )
        ways[f"TreeSearch, {arguments.groups} groups"] = lambda inputs: tree(
            inputs, arguments.groups
        )
    times: dict[str, list[float]] = {name: [] for name in ways}
    different = 0
    for number in range(arguments.queries + 1):
        ids = torch.from_numpy(rng.integers(SPECIAL, arguments.vocab_size, (1, length)))
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        results = {}
        for name, decode in ways.items():
            started = time.perf_counter()
            results[name] = decode(inputs)
            if number:  # the first query warms up
                times[name].append(time.perf_counter() - started)
        theirs = clues_of(results["diverse_beam_search"], length)
        ours = [(clue.tokens, clue.score) for clue in results["TreeSearch"][0]]
        different += [clue for clue, _ in theirs] != [clue for clue, _ in ours] or not np.allclose(
            [score for _, score in theirs], [score for _, score in ours], atol=1e-2
        )
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(
        f"{parameters / 1e6:.0f} M parameters, {len(documents):,} documents, prompts of {length} "
        f"tokens, {beams} beams; medians of {arguments.queries} queries one by one, "
        f"{torch.get_num_threads()} threads"
    )
    base = statistics.median(times["generate(prefix_allowed_tokens_fn)"])
    for name, taken in times.items():
        median = statistics.median(taken)
        print(f"{name:40}{median:9.3f} s a query{base / median:8.1f} times as fast")
    print(f"clues or scores of the two searches differ in {different} of {arguments.queries + 1}")


if __name__ == "__main__":
    main()
