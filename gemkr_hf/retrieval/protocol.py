"""The interface that all retrievers of a comparison implement."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from gemkr_hf.retrieval.types import Hit

Images = Sequence[Any] | None
Captions = Sequence[str] | None


class Retriever(Protocol):
    """Retrieve documents for questions about images.

    `GeMKRRetriever` and all baselines implement it.
    """

    def index(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """Index the documents to retrieve from.

        Args:
            documents: records with ``id``, ``text`` and optionally ``title``.
        """
        ...

    def retrieve(
        self, images: Images, questions: Sequence[str], k: int = 10, captions: Captions = None
    ) -> list[list[Hit]]:
        """Retrieve documents for each question.

        Args:
            images: one image per question (PIL, path...); text-only retrievers ignore them.
            questions: n questions.
            k: documents to retrieve; fewer are returned if there are fewer.
            captions: one caption per image, for retrievers that read captions; others ignore them.

        Returns:
            n lists of at most ``k`` hits, best first.

        Raises:
            ValueError: no documents were indexed, lists have different lengths, or images or
                captions that the retriever needs are missing.
        """
        ...


__all__ = ["Captions", "Images", "Retriever"]
