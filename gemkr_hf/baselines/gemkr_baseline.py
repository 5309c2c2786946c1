"""GeMKR as one of the systems of a comparison, with each of its strategies."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gemkr_hf.knowledge_base import KnowledgeBase
from gemkr_hf.retrieval.protocol import Captions, Found, Images, batches, check_query
from gemkr_hf.retrieval.retriever import GeMKRRetriever
from gemkr_hf.utils.logging import progress


class GeMKRSystem:
    """A ``GeMKRRetriever`` behind the protocol of the other systems.

    Args:
        model: a ``GeMKRForRetrieval``.
        processor: its ``GeMKRProcessor``.
        knowledge_base: made of the documents already; `index` makes one in memory where None.
        captions: give the model captions as well, or in the place of images if it sees none.
        batch_size: questions decoded together.
        **decoding: for ``GeMKRRetriever.retrieve``: ``strategy``, ``num_beams``...
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        knowledge_base: KnowledgeBase | None = None,
        captions: bool = False,
        batch_size: int = 8,
        **decoding: Any,
    ) -> None:
        self._model, self._processor = model, processor
        self._given = knowledge_base
        self._captions = captions
        self._batch_size = batch_size
        self._decoding = decoding
        self.retriever: GeMKRRetriever | None = None

    def index(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """See ``Retriever``."""
        knowledge_base = self._given or KnowledgeBase.from_documents(
            documents, self._processor.tokenizer
        )
        self.retriever = GeMKRRetriever(self._model, self._processor, knowledge_base)

    def retrieve(
        self, images: Images, questions: Sequence[str], k: int = 10, captions: Captions = None
    ) -> list[list[Found]]:
        """See ``Retriever``."""
        sees = self._model.vision_tower is not None
        needs = "captions" if self._captions else "images" if sees else None
        check_query("GeMKR", self.retriever, images, questions, k, captions, needs)
        assert self.retriever is not None
        found: list[list[Found]] = []
        for rows in progress(batches(len(questions), self._batch_size), "GeMKR"):
            hits = self.retriever.retrieve(
                images[rows] if sees and images is not None else None,
                list(questions[rows]),
                k=k,
                batch_size=self._batch_size,
                captions=captions[rows] if self._captions and captions is not None else None,
                **self._decoding,
            )
            found += [
                [
                    Found(str(hit.document["id"]), hit.score, hit.clues[0].text)
                    for hit in of_question
                ]
                for of_question in hits
            ]
        return found


__all__ = ["GeMKRSystem"]
