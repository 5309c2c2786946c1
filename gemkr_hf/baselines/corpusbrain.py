"""CorpusBrain: a text-only language model writes a document's title or first sentence.

Chen et al. (2022), "CorpusBrain: Pre-Train a Generative Retrieval Model for Knowledge-Intensive
Language Tasks". The titles form a separate knowledge base whose documents are written in full, so
the constraint is a trie of the titles.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gemkr_hf.baselines.baseline import Images, document_hit
from gemkr_hf.baselines.text_language_model import (
    Example,
    TextModel,
    WritingBaseline,
    write_prompt,
)
from gemkr_hf.decoding import TreeSearch
from gemkr_hf.knowledge_base import KnowledgeBase
from gemkr_hf.knowledge_base.tokenization import encode_documents
from gemkr_hf.retrieval.types import Hit
from gemkr_hf.utils.text import SENTENCE_END, first_sentence


def title_or_first_sentence(document: Mapping[str, Any]) -> str:
    """Return a document's title, or its first sentence if it has no title."""
    return str(document.get("title") or "").strip() or first_sentence(document["text"])


def pretraining_examples(
    documents: Sequence[Mapping[str, Any]], model: TextModel, number: int, seed: int
) -> list[Example]:
    """Return sentences as pseudo-questions, each answered by its document's title.

    This is the paper's inner sentence selection: the sentence replaces the question of the prompt.

    Args:
        documents: drawn equally often, by row, so that a large corpus may stay on disk.
        model: provides the tokenizer.
        number: number of examples.
        seed: seed of the draw.
    """
    rng = np.random.default_rng(seed)
    order = np.concatenate(
        [rng.permutation(len(documents)) for _ in range(-(-number // len(documents)))]
    )[:number]
    prompts, titles = [], []
    for row in order.tolist():
        document = documents[row]
        sentences = SENTENCE_END.split(document["text"].strip())
        prompts.append(write_prompt(sentences[rng.integers(len(sentences))]))
        titles.append(title_or_first_sentence(document))
    return [
        Example(prompt, tuple(tokens))
        for prompt, tokens in zip(prompts, encode_documents(titles, model.tokenizer), strict=True)
    ]


class CorpusBrainRetriever(WritingBaseline):
    """Documents by their titles or first sentences, written under a trie of all titles.

    Documents with the same title are returned in the order of the corpus.

    Args:
        model: the language model.
        captions: add the captions to the prompts.
        num_beams: number of beams of the search.
        batch_size: questions decoded together.
    """

    def __init__(
        self, model: TextModel, captions: bool = False, num_beams: int = 20, batch_size: int = 8
    ) -> None:
        super().__init__("CorpusBrain", model, captions, batch_size)
        self._num_beams = num_beams

    def index(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """Index the titles; documents with the same title share a row."""
        self._indexed = KnowledgeBase.from_documents(
            (
                {"id": str(document["id"]), "text": title_or_first_sentence(document)}
                for document in documents
            ),
            self._model.tokenizer,
        )

    def _search(self, images: Images, texts: Sequence[str], k: int) -> list[list[Hit]]:
        titles: KnowledgeBase = self._indexed
        search = TreeSearch(
            self._model.model.eval(),
            titles.constraint(strategy="document"),
            num_beams=self._num_beams,
            num_beam_groups=1,
            wanted=min(k, len(titles)),
            documents=True,
            merge_clues=False,
        )
        decode = self._model.tokenizer.decode
        results: list[list[Hit]] = []
        for inputs in self._batches(texts):
            for written in search.run(inputs):
                hits = []
                for each in written:
                    clue = replace(each, text=decode(each.token_ids).strip())
                    hits += [
                        document_hit(name, each.score, (clue,)) for name in titles.ids(each.row)
                    ]
                results.append(hits[:k])
        return results


__all__ = ["CorpusBrainRetriever", "pretraining_examples", "title_or_first_sentence"]
