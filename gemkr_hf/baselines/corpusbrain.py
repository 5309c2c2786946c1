"""CorpusBrain: a text-only language model writes a document's title, or its first sentence.

Chen et al. (2022), "CorpusBrain: Pre-Train a Generative Retrieval Model for Knowledge-Intensive
Language Tasks". The titles are the documents of a knowledge base of their own, of which only whole
ones may be written: what may follow a beginning is what follows it in a trie of the titles.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from gemkr_hf.baselines.text_language_model import Example, TextModel, write_prompt
from gemkr_hf.decoding import TreeSearch
from gemkr_hf.knowledge_base import KnowledgeBase
from gemkr_hf.knowledge_base.tokenization import encode_documents
from gemkr_hf.retrieval.protocol import Captions, Found, Images, check_query
from gemkr_hf.utils.logging import progress
from gemkr_hf.utils.text import SENTENCE_END, first_sentence


def name_of(document: Mapping[str, Any]) -> str:
    """What a document is called by: its title, or its first sentence where it has none."""
    return str(document.get("title") or "").strip() or first_sentence(document["text"])


def pretraining_examples(
    documents: Sequence[Mapping[str, Any]], model: TextModel, number: int, seed: int
) -> list[Example]:
    """Sentences of documents as pseudo-queries, each answered by its document's name.

    Inner sentence selection of the paper: the sentence stands where the question will.

    Args:
        documents: to draw from, each as often; by their rows, so that a corpus of any size may
            stay on disk.
        model: whose tokenizer writes.
        number: of examples.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    order = np.concatenate(
        [rng.permutation(len(documents)) for _ in range(-(-number // len(documents)))]
    )[:number]
    prompts, names = [], []
    for row in order.tolist():
        document = documents[row]
        sentences = SENTENCE_END.split(document["text"].strip())
        prompts.append(write_prompt(sentences[rng.integers(len(sentences))]))
        names.append(name_of(document))
    return [
        Example(prompt, tuple(tokens))
        for prompt, tokens in zip(prompts, encode_documents(names, model.tokenizer), strict=True)
    ]


class CorpusBrainRetriever:
    """Documents by their titles or first sentences, written under a trie of all of these.

    Args:
        model: what writes, on the question in words.
        captions: the captions stand in the prompts as well.
        num_beams: of the search.
        batch_size: questions decoded together.
    """

    def __init__(
        self,
        model: TextModel,
        captions: bool = False,
        num_beams: int = 20,
        batch_size: int = 8,
    ) -> None:
        self._model = model
        self._captions = captions
        self._num_beams = num_beams
        self._batch_size = batch_size
        self._names: KnowledgeBase | None = None

    def index(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """See ``Retriever``; documents of one name are one of several ids."""
        self._names = KnowledgeBase.from_documents(
            ({"id": str(document["id"]), "text": name_of(document)} for document in documents),
            self._model.tokenizer,
        )

    def retrieve(
        self, images: Images, questions: Sequence[str], k: int = 10, captions: Captions = None
    ) -> list[list[Found]]:
        """See ``Retriever``; the documents of one name come in the order of the corpus."""
        needs = "captions" if self._captions else None
        check_query("CorpusBrain", self._names, images, questions, k, captions, needs)
        names = self._names
        assert names is not None
        described = list(captions) if self._captions and captions else [""] * len(questions)
        prompts = [write_prompt(*pair) for pair in zip(questions, described, strict=True)]
        search = TreeSearch(
            self._model.model.eval(),
            names.constraint(strategy="document"),
            num_beams=self._num_beams,
            num_beam_groups=1,
            wanted=min(k, len(names)),
            documents=True,
            merge_clues=False,
        )
        decode = self._model.tokenizer.decode
        found: list[list[Found]] = []
        batches = self._model.inputs(prompts, self._batch_size)
        for _, inputs in progress(
            batches, "CorpusBrain", total=-(-len(prompts) // self._batch_size)
        ):
            for clues in search.run(inputs):
                documents = [
                    Found(str(identifier), clue.score, decode(clue.token_ids).strip())
                    for clue in clues
                    for identifier in names.ids(clue.row)
                ]
                found.append(documents[:k])
        return found


__all__ = ["CorpusBrainRetriever", "name_of", "pretraining_examples"]
