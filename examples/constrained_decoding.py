"""Constrained decoding: a causal language model writes only what occurs in your documents.

    python examples/constrained_decoding.py HuggingFaceTB/SmolLM2-135M-Instruct \
        --question "What do bees bring to apple trees?"
    python examples/constrained_decoding.py MODEL --documents notes.jsonl --question "..."

The model is any `AutoModelForCausalLM` checkpoint, a folder or a Hub id, as it is: no images, no
training. Of the package only the index and the constraint are used; they need nothing besides torch
and transformers. How well the documents answer the question depends on the model.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, AutoTokenizer

from gemkr_hf.decoding import FMIndexConstraint
from gemkr_hf.index import FMIndex

DOCUMENTS = [
    {"id": "bees", "text": "Bees carry pollen from one apple tree to the next."},
    {"id": "wind", "text": "The wind carries the pollen of hazel and birch."},
    {"id": "apples", "text": "Apples are picked in autumn and kept in a cool cellar."},
]


def index_documents(texts: list[str], tokenizer: Any) -> FMIndex:
    """Index the tokens of texts; a first word has the tokens that it has inside a sentence."""
    spaced = [" " + text for text in texts]
    return FMIndex.build(tokenizer(spaced, add_special_tokens=False)["input_ids"], len(tokenizer))


def write_clues(
    question: str, model: Any, tokenizer: Any, index: FMIndex, num_beams: int = 5
) -> list[tuple[float, int, str]]:
    """Return score, document's row and clue of each beam that leads to one document, best first."""
    # A clue ends as soon as a single document contains it, but not before `min_length` tokens.
    constraint = FMIndexConstraint(index, tokenizer.eos_token_id, min_length=3, max_length=12)
    prompt = tokenizer(f"Question: {question}\nAnswer:", return_tensors="pt").to(model.device)
    output = model.generate(
        **prompt,
        logits_processor=[constraint],
        num_beams=num_beams,
        num_return_sequences=num_beams,
        do_sample=False,
        max_new_tokens=constraint.max_length + 1,  # and the end token
        pad_token_id=tokenizer.eos_token_id,
        return_dict_in_generate=True,
        output_scores=True,
    )
    written = output.sequences[:, prompt["input_ids"].shape[1] :].tolist()
    clues = [[token for token in row if token != tokenizer.eos_token_id] for row in written]
    scores, rows = output.sequences_scores.tolist(), index.lookup_doc(clues).tolist()
    return [
        (score, row, tokenizer.decode(clue))
        for score, row, clue in zip(scores, rows, clues, strict=True)
        if row >= 0  # -1: the search ended inside a text that several documents share
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Let a language model write from documents only.")
    parser.add_argument("model", help="folder or Hub id of a causal language model")
    parser.add_argument("--question", default="What do bees bring to apple trees?")
    parser.add_argument("--documents", type=Path, help="JSON lines with id and text")
    args = parser.parse_args()

    lines = args.documents.read_text().splitlines() if args.documents else []
    documents = [json.loads(line) for line in lines if line.strip()] or DOCUMENTS
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForCausalLM.from_pretrained(args.model)
    index = index_documents([document["text"] for document in documents], tokenizer)
    for score, row, clue in write_clues(args.question, model, tokenizer, index):
        print(f"{score:8.2f}  {documents[row]['id']}: '{clue.strip()}'")


if __name__ == "__main__":
    main()
