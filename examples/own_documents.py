"""Your own documents: build a knowledge base, and ask questions about images.

    make quickstart                      # once: a small model, in runs/quickstart
    python examples/own_documents.py     # the documents and questions below
    python examples/own_documents.py --documents notes.jsonl --questions questions.csv \
        --model org/gemkr-model --output runs/notes

Documents have the fields `id` and `text`, and may have more; questions have `image`, a file name,
and `question`. Both are JSON lines, CSV, TSV or Parquet. The quickstart's model has learned nothing
but symbols, and those of its own documents: `docs/own-data.md` tunes a model on yours.
"""

import argparse
from pathlib import Path

from gemkr_hf import GeMKRRetriever, KnowledgeBase
from gemkr_hf.knowledge_base import load_tokenizer
from gemkr_hf.knowledge_base.document_sources import RecordFile, open_documents

DOCUMENTS = [
    {"id": "anchor", "text": "An anchor is a symbol of hope: it holds a ship in a storm."},
    {"id": "recycling", "text": "Three chasing arrows mark what can be collected and used again."},
    {"id": "snowflake", "text": "A snowflake on a sign warns drivers of ice on the road."},
    {"id": "scales", "text": "A pair of scales stands for justice, which weighs both sides."},
    {"id": "dove", "text": "A dove with an olive branch has been a sign of peace since antiquity."},
]
QUESTIONS = [
    {"image": "runs/quickstart/examples/scene-1.png", "question": "What does this sign mean?"},
    {"image": "runs/quickstart/examples/scene-2.png", "question": "What does it stand for?"},
]


def main() -> None:
    parser = argparse.ArgumentParser(description="Ask questions about images and own documents.")
    parser.add_argument("--documents", help="file of documents (default: five short ones)")
    parser.add_argument("--questions", help="file of questions (default: two)")
    parser.add_argument("--model", default="runs/quickstart/model", help="folder or Hub id")
    parser.add_argument("--output", default="runs/own-documents", help="folder to build")
    parser.add_argument("-k", type=int, default=3, help="documents for each question")
    args = parser.parse_args()

    # The index holds tokens, so the tokenizer must be the one of the model that writes the clues.
    documents = open_documents(args.documents) if args.documents else DOCUMENTS
    knowledge_base = KnowledgeBase.build(documents, load_tokenizer(args.model), args.output)
    print(f"{knowledge_base} in {args.output}")

    queries = list(RecordFile(Path(args.questions), "question")) if args.questions else QUESTIONS
    retriever = GeMKRRetriever.from_pretrained(args.model, knowledge_base)
    images = [query["image"] for query in queries]
    answers = retriever.retrieve(images, [query["question"] for query in queries], k=args.k)
    for query, hits in zip(queries, answers, strict=True):
        print(f"\n{query['image']}: {query['question']}")
        for hit in hits:  # score: log-probability of the clue; the clue occurs in one document only
            print(f"{hit.score:8.2f}  {hit.document_id}: '{hit.clues[0].text.strip()}'")


if __name__ == "__main__":
    main()
