"""Compare decoding strategies and settings on the symbols benchmark (paper, Tables 4 and 5).

    make quickstart
    python benchmarks/strategies.py
    python benchmarks/strategies.py --split validation --only clue

With the quickstart's model, one setting is changed at a time: the four strategies of Table 4;
search for documents or clues, aggregation of a document's clues, clues of several pieces, the
ambiguity penalty, renormalized scores, numbers of beams. Then the keywords of Table 5, of clues
from a question alone and from an image alone.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from gemkr_hf import GeMKRRetriever
from gemkr_hf.evaluation.clue_keywords import top_keywords
from gemkr_hf.evaluation.metrics import score_run
from gemkr_hf.toy.quickstart.quickstart_systems import answer_questions, relevant_ids
from gemkr_hf.toy.symbols import SymbolsConfig, load_symbols

# Name -> (strategy, aggregate, settings of `retrieve`).
SETTINGS: dict[str, tuple[str, str | None, dict[str, Any]]] = {
    "clue (20 beams in 4 groups, as tuned)": ("clue", None, {}),
    "document": ("document", None, {}),
    "first sentence": ("first_sentence", None, {}),
    "free": ("free", None, {}),
    "clue, one search for clues": ("clue", None, {"num_return_sequences": 20}),
    "clue, aggregate=max": ("clue", "max", {}),
    "clue, one search, aggregate=max": ("clue", "max", {"num_return_sequences": 20}),
    "clue, max_pieces=3": ("clue", None, {"max_pieces": 3}),
    "clue, min_length=3, max_length=5": ("clue", None, {"min_length": 3, "max_length": 5}),
    "the same, max_pieces=3": (
        "clue", None, {"min_length": 3, "max_length": 5, "max_pieces": 3},
    ),
    "the same, ambiguity_penalty=0.5": (
        "clue", None, {"min_length": 3, "max_length": 5, "ambiguity_penalty": 0.5},
    ),
    "clue, ambiguity_penalty=0.1": ("clue", None, {"ambiguity_penalty": 0.1}),
    "clue, ambiguity_penalty=0.5": ("clue", None, {"ambiguity_penalty": 0.5}),
    "clue, ambiguity_penalty=2": ("clue", None, {"ambiguity_penalty": 2.0}),
    "clue, renormalize": ("clue", None, {"renormalize": True}),
    "clue, diversity_penalty=0": ("clue", None, {"diversity_penalty": 0.0}),
    "clue, 1 group": ("clue", None, {"num_beam_groups": 1}),
    "clue, 5 beams in 1 group": ("clue", None, {"num_beams": 5, "num_beam_groups": 1}),
    "clue, 50 beams in 5 groups": ("clue", None, {"num_beams": 50, "num_beam_groups": 5}),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/quickstart"))
    parser.add_argument("--split", default="test", choices=["validation", "test", "unseen"])
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--only", default="", help="only settings whose names start with this")
    arguments = parser.parse_args()

    retriever = GeMKRRetriever.from_pretrained(
        arguments.run / "model", knowledge_base=arguments.run / "knowledge_base"
    )
    config = json.loads((arguments.run / "quickstart.json").read_text())["symbols"]
    world = load_symbols(SymbolsConfig(**config), cache_dir=arguments.run / "data")
    questions = list(world[arguments.split])[: arguments.questions]
    relevant = relevant_ids(questions)
    default = retriever.aggregate

    print(
        f"`{arguments.split}`, {len(questions)} questions, hit preset `gold`, 10 documents wanted\n"
    )
    print("| setting | P@1 | P@5 | R@5 | R@10 | documents | s/query |")
    print("|---|---|---|---|---|---|---|")
    for name, (strategy, aggregate, decoding) in SETTINGS.items():
        if not name.startswith(arguments.only):
            continue
        retriever.aggregate = aggregate or default
        hits, seconds = answer_questions(retriever, questions, 10, strategy=strategy, **decoding)
        ranked = {
            question["question_id"]: [str(hit.document["id"]) for hit in found]
            for question, found in zip(questions, hits, strict=True)
        }
        figures = score_run(ranked, relevant).as_dict()
        number = sum(map(len, hits)) / len(hits)
        cells = " | ".join(f"{value:.3f}" for value in figures.values())
        print(f"| {name} | {cells} | {number:.2f} | {seconds:.3f} |", flush=True)

    retriever.aggregate = default
    print("\nTop 10 keywords in the best clues of 100 queries\n")
    for name, given in (
        ("only the question", {"with_image": False}),
        ("only the image", {"with_question": False}),
    ):
        hits, _ = answer_questions(retriever, questions[:100], 1, **given)
        keywords = top_keywords(found[0].clues[0].text for found in hits if found)
        print(f"- {name}: " + ", ".join(f"{word} ({count})" for word, count in keywords))


if __name__ == "__main__":
    main()
