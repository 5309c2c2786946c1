"""Evaluate a retriever: run files, metrics with a hit preset, and the significance of a difference.

    make quickstart                     # once: a small model, in runs/quickstart
    python examples/evaluate_run.py     # questions of the symbols benchmark; BM25 for comparison
    python examples/evaluate_run.py --data configs/evaluate_remuq.yaml --preset vrr \
        --model org/gemkr-remuq --knowledge-base org/remuq --questions 1000

`--data` is a configuration with a section `data`, as for `gemkr train` (`docs/own-data.md`). The
run files are in the TREC format: other programs read them, and `gemkr evaluate score` and
`compare` do the second half of this script from the command line.
"""

import argparse
from pathlib import Path

from gemkr_hf import GeMKRRetriever
from gemkr_hf.baselines import BM25Retriever
from gemkr_hf.data import DataConfig, load_benchmark
from gemkr_hf.evaluation.run_files import first_ids, read_trec_run, write_trec_run
from gemkr_hf.evaluation.run_metrics import score
from gemkr_hf.evaluation.significance import bootstrap_interval, p_value
from gemkr_hf.retrieval import Run

MEASURES = ("P@1", "P@5", "R@5", "MRR@10")


def run_of(name, retriever, questions, images, k=10, batch_size=32) -> Run:
    """Retrieve k documents for each question, with any object that has the method `retrieve`."""
    run = Run(name, documents={}, scores={})
    for start in range(0, len(questions), batch_size):
        batch = questions[start : start + batch_size]
        some_images = [images[question["image_id"]] for question in batch]
        hits = retriever.retrieve(some_images, [question["question"] for question in batch], k=k)
        for question, found in zip(batch, hits, strict=True):
            run.documents[question["question_id"]] = [hit.document_id for hit in found]
            run.scores[question["question_id"]] = [hit.score for hit in found]
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare GeMKR with BM25.")
    parser.add_argument("--model", default="runs/quickstart/model", help="folder or Hub id")
    parser.add_argument("--knowledge-base", default="runs/quickstart/knowledge_base")
    parser.add_argument("--data", help="YAML file (default: the symbols benchmark)")
    parser.add_argument("--split", default="test")
    parser.add_argument("--questions", type=int, default=100, help="the first questions")
    parser.add_argument("--preset", default="gold", help="what a hit is: gold, vrr, dpr, ...")
    parser.add_argument("--output", type=Path, default=Path("runs/evaluate-run"))
    args = parser.parse_args()

    config = DataConfig.from_file(args.data) if args.data else DataConfig("symbols", scenes=1)
    benchmark = load_benchmark(config)
    questions = list(benchmark.questions[args.split].take(args.questions))
    gemkr = GeMKRRetriever.from_pretrained(args.model, args.knowledge_base)
    bm25 = BM25Retriever()  # reads the question alone
    bm25.index(gemkr.knowledge_base)

    # Documents with the same text are one document with several ids; hits have the first one.
    further_ids = gemkr.knowledge_base.further_ids()
    for question in questions:
        question["relevant_ids"] = first_ids(question["relevant_ids"], further_ids)

    scores = []
    args.output.mkdir(parents=True, exist_ok=True)
    print(f"{len(questions)} questions, hit preset {args.preset}, in {args.output}\n")
    for name, retriever in (("GeMKR", gemkr), ("BM25", bm25)):
        path = args.output / f"{name}.trec"
        write_trec_run(run_of(name, retriever, questions, benchmark.images), path)
        run = read_trec_run(path)
        retrieved = [document for documents in run.documents.values() for document in documents]
        records = gemkr.knowledge_base.documents_of(retrieved)
        texts = {document: record["text"] for document, record in records.items()}
        scores.append(score(run, questions, args.preset, MEASURES, texts))
        print(f"{name:6}", *(f"{measure} {scores[-1].mean(measure):.3f}  " for measure in MEASURES))

    one, other = (result.values["P@1"] for result in scores)
    print(f"\nP@1, GeMKR minus BM25: {bootstrap_interval(one - other)} (95% bootstrap interval)")
    print(f"p = {p_value(one, other):.4f} (randomisation test, two-sided)")


if __name__ == "__main__":
    main()
