"""What all baselines share: input checks, query texts, batches, and the form of a hit."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from gemkr_hf.decoding.clue import Clue
from gemkr_hf.retrieval.protocol import Captions, Images
from gemkr_hf.retrieval.types import Hit


def with_caption(question: str, caption: str | None) -> str:
    """Join question and caption into the query text of a text-only system."""
    return f"{question} {caption}" if caption else question


def batches(number: int, size: int) -> list[slice]:
    """Return slices of at most ``size`` that cover ``number`` items."""
    return [slice(start, min(start + size, number)) for start in range(0, number, size)]


def document_hit(document_id: Any, score: float, clues: tuple[Clue, ...] = ()) -> Hit:
    """Return the hit of a baseline, which keeps only the ids of its documents."""
    return Hit(float(score), -1, {"id": str(document_id)}, clues)


class Baseline(ABC):
    """A `Retriever` that checks its queries. Subclasses set `_indexed` in `index`.

    Args:
        name: name of the system, for messages and progress bars.
        reads_captions: add the captions to the query texts.
        reads_images: encode the images.
    """

    def __init__(self, name: str, reads_captions: bool = False, reads_images: bool = False) -> None:
        self.name = name
        self.needs: Literal["images", "captions"] | None = None
        if reads_images or reads_captions:
            self.needs = "images" if reads_images else "captions"
        self._reads_captions = reads_captions
        self._indexed: Any = None

    @abstractmethod
    def index(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """Index the documents, see `Retriever.index`."""

    @abstractmethod
    def retrieve(
        self, images: Images, questions: Sequence[str], k: int = 10, captions: Captions = None
    ) -> list[list[Hit]]:
        """Return up to ``k`` hits for each question, best first; see `Retriever.retrieve`."""

    def _check(self, images: Images, questions: Sequence[str], k: int, captions: Captions) -> None:
        if self._indexed is None:
            raise ValueError(f"{self.name} has no documents yet: call index(documents) first")
        if k < 1:
            raise ValueError(f"k is the number of documents wanted, at least 1, got {k}")
        for kind, given in (("images", images), ("captions", captions)):
            if self.needs == kind and given is None:
                raise ValueError(f"{self.name} needs {kind}: give one for each question")
            if given is not None and len(given) != len(questions):
                raise ValueError(f"There are {len(given)} {kind} for {len(questions)} questions")


class QueryTextBaseline(Baseline):
    """A baseline that encodes or writes from a query text, and an image if it needs one."""

    def retrieve(
        self, images: Images, questions: Sequence[str], k: int = 10, captions: Captions = None
    ) -> list[list[Hit]]:
        """Return up to ``k`` hits for each question, best first; see `Retriever.retrieve`.

        Raises:
            ValueError: No documents were indexed, ``k`` is below 1, the numbers of images or
                captions and questions differ, or the system needs images or captions that are
                missing.
        """
        self._check(images, questions, k, captions)
        used = captions if self._reads_captions and captions is not None else [""] * len(questions)
        texts = [self._query_text(*query) for query in zip(questions, used, strict=True)]
        return self._search(images if self.needs == "images" else None, texts, k)

    def _query_text(self, question: str, caption: str) -> str:
        return with_caption(question, caption)

    @abstractmethod
    def _search(self, images: Images, texts: Sequence[str], k: int) -> list[list[Hit]]:
        """Return up to ``k`` hits for each query text, best first.

        Args:
            images: images of the queries if `needs` is "images", else None.
            texts: texts of the queries.
            k: documents per query.
        """


__all__ = [
    "Baseline",
    "Captions",
    "Images",
    "QueryTextBaseline",
    "batches",
    "document_hit",
    "with_caption",
]
