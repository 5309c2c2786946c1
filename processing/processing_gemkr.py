"""`GeMKRProcessor`: questions about images as the tensors that the model takes."""

import logging
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from string import Formatter
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoImageProcessor, BatchFeature, ProcessorMixin
from transformers.processing_utils import ProcessingKwargs

from .detection_gemkr import (
    DETECTORS,
    Detector,
    find_file,
    library_module,
    split_hub_arguments,
    write_file,
)
from .images_gemkr import (
    Box,
    ImageInput,
    Object,
    as_object,
    choose_objects,
    clip_object,
    encode_pixels,
    is_box,
    load_image,
    most_confident,
)

logger = logging.getLogger(__name__)

IMAGE_TOKEN = "<image>"
"""The image's slot in a prompt."""
OBJECT_TOKEN = "<object>"
"""The slot of an object in a prompt."""
PROMPT_TEMPLATE_NAME = "prompt_template.txt"
DEFAULT_PROMPT_TEMPLATE = (
    "Below is a knowledge completion task. Please provide the knowledge keywords that can answer "
    "this question based on the Image.\n\n"
    "### Question:\n{question}\n\n### Image:\n{image}\n\n### Response:"
)
"""The instruction of the paper's released code. A template may also hold ``{caption}``."""
DEFAULT_OBJECT_TEMPLATE = OBJECT_TOKEN
"""The paper's: the bare object."""

Objects = Sequence[Object | Sequence[float]]

# Settings of the processor itself, which tokenizer and image processor do not know.
_OWN_SETTINGS = (
    "detector", "prompt_template", "max_objects", "max_object_slots", "object_cache",
    "object_margin", "object_template", "object_separator", "large_object",
)  # fmt: skip
# Misspelled arguments of a call, which transformers would ignore with a line in the log.
_MISSPELLED = {
    "image": "images", "question": "text", "questions": "text", "object": "objects",
    "boxes": "objects", "clue": "clues", "caption": "captions",
}  # fmt: skip


class GeMKRProcessor(ProcessorMixin):
    """Convert images and questions to the tensors that ``GeMKRForRetrieval.forward`` takes.

    Args:
        image_processor: of the vision tower.
        tokenizer: of the language model, with the special tokens ``<image>`` and ``<object>``, see
            ``add_image_tokens``.
        detector: Detector. Detects the objects of images whose boxes are not given.
        prompt_template: text with ``{question}`` and ``{image}``, and optionally ``{caption}``;
            ``prompt_template.txt`` in a checkpoint. ``chat_prompt_template`` makes one for a
            chat model.
        max_objects: maximum number of objects per image; the most confident are kept (5 in the
            paper).
        max_object_slots: number of them, the most confident first, that get an ``<object>`` in the
            prompt; all by default. The model's configuration has the same setting.
        object_cache: ``ObjectCache`` of the library, or its path. Stores detected objects, so that
            the detector sees each image once. It is not saved in a checkpoint.
        object_margin: a crop extends beyond its box on each side by this share of the box's width
            or height.
        object_template: text of one object in the prompt: ``<object>``, and optionally ``{place}``
            (quadrant of its center), ``{size}`` (``large`` or ``small``), ``{label}``.
        object_separator: text between two objects.
        large_object: an object is ``large`` if the square root of its share of the image's area is
            at least this.

    Raises:
        ValueError: if a setting or template is invalid, or the tokenizer lacks the two tokens.
    """

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        detector: Detector | None = None,
        prompt_template: str | None = None,
        max_objects: int = 5,
        object_margin: float = 0.0,
        object_template: str = DEFAULT_OBJECT_TEMPLATE,
        object_separator: str = "",
        large_object: float = 0.3,
        chat_template: str | None = None,
        max_object_slots: int | None = None,
        object_cache: Any = None,
    ) -> None:
        super().__init__(image_processor, tokenizer, chat_template=chat_template)
        for token in (IMAGE_TOKEN, OBJECT_TOKEN):
            if token not in special_strings(tokenizer):
                raise ValueError(
                    f"The tokenizer has no special token {token}: call add_image_tokens(tokenizer) "
                    "and then model.resize_token_embeddings(len(tokenizer))."
                )
        template = DEFAULT_PROMPT_TEMPLATE if prompt_template is None else prompt_template
        check_prompt_template(template)
        check_object_template(object_template)
        for name, value in (
            ("max_objects", max_objects),
            ("object_margin", object_margin),
            ("max_object_slots", max_object_slots),
        ):
            if value is not None and value < 0:
                raise ValueError(f"{name} must not be negative, got {value}.")
        if detector is not None and not hasattr(detector, "detect"):
            raise ValueError(f"A {type(detector).__name__} is not a detector: it has no detect().")
        if isinstance(object_cache, str | os.PathLike):
            object_cache = library_module("object_cache").ObjectCache(object_cache)
        self.detector = detector
        self.prompt_template = template
        self.max_objects = max_objects
        self.max_object_slots = max_object_slots
        self.object_cache = object_cache
        self.object_margin = object_margin
        self.object_template = object_template
        self.object_separator = object_separator
        self.large_object = large_object

    # -- inputs --------------------------------------------------------------------------------

    def __call__(
        self,
        images: ImageInput | Sequence[ImageInput | None] | None = None,
        text: str | Sequence[str] | None = None,
        objects: Objects | Sequence[Objects | None] | None = None,
        clues: str | Sequence[str | Sequence[int]] | None = None,
        captions: str | Sequence[str | None] | None = None,
        return_objects: bool | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Encode a batch of B queries.

        Args:
            images: one image or B images, as ``load_image`` reads them; None for a text-only
                query.
            text: one question or B questions. Without it only the images are encoded. None among
                B questions: the query is an image alone.
            objects: objects of the image, or of each of B images: ``Object`` or
                ``(x0, y0, x1, y1)`` in pixels of the upright image. None (for one or for all): the
                detector is used, and without a detector there are none.
            clues: B texts or lists of token ids. The model's target; gives ``labels``.
            captions: one text or B texts about the images: beside them, as in the released code,
                or instead of them (Table 3, "w/o Visual Queries").
            return_objects: also return ``objects``, the list of used ``Object`` of each image.
            **kwargs: ``return_tensors`` (``"pt"`` or ``"np"``), ``padding`` (True, False or
                ``"max_length"``; always on the left), ``pad_to_multiple_of``, ``max_length`` with
                ``truncation=True`` (truncates the question) or ``padding="max_length"``, and
                arguments of the image processor.

        Returns:
            BatchFeature: ``input_ids``, ``attention_mask``: int64 (B, T), padded left. A row with
            an image has one ``<image>`` and one ``<object>`` for each object, others have neither.
            ``pixel_values``: float32 (P, 3, H, W), the P <= B images in the order of their rows.
            ``object_pixel_values``: float32 (P, max_objects, 3, H, W), zeros where no object.
            ``object_mask``: bool (P, max_objects). ``labels``: int64 (B, T), the clue and the end
            token (Eq. 8), -100 elsewhere. The tensors of images are absent without images.

        Raises:
            TypeError: if an argument is misspelled or belongs to the processor.
            ValueError: if a question is empty, numbers do not match, or a box or image is invalid.
            FileNotFoundError: if the path of an image does not exist.
        """
        _check_call(kwargs)
        if images is None and text is None:
            raise ValueError("A query needs a question: give text, and images if it is about one.")
        settings = self._merge_kwargs(
            ProcessingKwargs,  # type: ignore[arg-type]
            tokenizer_init_kwargs=self.tokenizer.init_kwargs,
            **kwargs,
        )
        text_settings, image_settings = settings["text_kwargs"], settings["images_kwargs"]
        tensor_type = text_settings.get("return_tensors") or "pt"
        rows, questions = _match_queries(images, text)
        given = _match_objects(objects, len(rows), single=not _is_batch(images))
        clues = _match_clues(clues, questions)
        if captions is not None and questions is None:
            raise ValueError("Captions accompany or replace images of questions: give text.")
        loaded = [None if image is None else load_image(image) for image in rows]
        chosen = choose_objects(
            loaded, given, self.max_objects, self._detect if self.detector else None
        )
        data: dict[str, Any] = {}
        if questions is not None:
            sizes = [None if image is None else image.size for image in loaded]
            encoded = self.encode_queries(
                questions, sizes, chosen, clues, captions, **text_settings
            )
            data |= pad_left(self.tokenizer, encoded, text_settings)
        data |= encode_pixels(
            self.image_processor,
            loaded,
            chosen,
            self.max_objects,
            self.object_margin,
            image_settings,
        )
        if tensor_type == "np":
            data = {name: value.numpy() for name, value in data.items()}
        batch = BatchFeature(data, tensor_type=tensor_type)
        if return_objects:
            batch["objects"] = chosen
        return batch

    def encode_queries(
        self,
        questions: Sequence[str],
        sizes: Sequence[tuple[int, int] | None],
        objects: Sequence[Sequence[Object]],
        clues: Sequence[str | Sequence[int]] | None = None,
        captions: str | Sequence[str | None] | None = None,
        **settings: Any,
    ) -> list[tuple[list[int], list[int]]]:
        """Tokenize prompts and clues, without padding: for training on prepared images.

        Args:
            questions: B texts.
            sizes: width and height of each image in pixels, None for a text-only query.
            objects: the objects of each image, as a call returns them with ``return_objects``.
            clues: B texts or lists of token ids.
            captions: B texts.
            **settings: ``max_length`` and ``truncation`` of a call.

        Returns:
            list of B pairs: token ids of the prompt, and of the clue with the end token (empty
            without clues).
        """
        special = special_strings(self.tokenizer)
        slots = self.max_objects if self.max_object_slots is None else self.max_object_slots
        in_slots = [list(items)[:slots] for items in objects]
        sections = [
            "" if size is None else self._image_section(items, size, special)
            for size, items in zip(sizes, in_slots, strict=True)
        ]
        texts = [escape_tokens(text, special) for text in _match_captions(captions, len(questions))]
        if clues is None:
            targets: list[list[int]] = [[] for _ in questions]
        else:
            targets = _encode_clues(self.tokenizer, clues, special)
        prompts = _encode_prompts(
            self.tokenizer,
            [escape_tokens(question, special) for question in questions],
            lambda row, question: fill_prompt(
                self.prompt_template, question, sections[row], texts[row]
            ),
            reserved=[len(target) for target in targets],
            settings=settings,
        )
        # Slots come from the processor alone: a wrong number would shift all objects.
        for row, (prompt, size, items) in enumerate(zip(prompts, sizes, in_slots, strict=True)):
            for token, token_id, expected in (
                (IMAGE_TOKEN, self.image_token_id, int(size is not None)),
                (OBJECT_TOKEN, self.object_token_id, len(items)),
            ):
                if prompt.count(token_id) != expected:
                    raise ValueError(
                        f"The prompt of query {row} has {prompt.count(token_id)} {token} instead "
                        f"of {expected}: the tokenizer does not read it as a special token."
                    )
        return list(zip(prompts, targets, strict=True))

    def _image_section(
        self, objects: Sequence[Object], size: tuple[int, int], special_tokens: Sequence[str]
    ) -> str:
        """``<image>`` and one filled object template for each object."""
        texts = (
            self.object_template.format(
                place=place_of(item.box, size),
                size=size_of(item.box, size, self.large_object),
                label=escape_tokens(item.label, special_tokens),
            )
            for item in objects
        )
        return IMAGE_TOKEN + self.object_separator.join(texts)

    # -- objects -------------------------------------------------------------------------------

    def _detect(self, images: list[Image.Image]) -> list[list[Object]]:
        if self.detector is None:
            raise ValueError("The processor has no detector: set processor.detector.")
        if self.object_cache is not None:
            results = self.object_cache.detect(self.detector, images)
        else:
            results = self.detector.detect(images)
        if len(results) != len(images):
            raise ValueError(
                f"The detector returned {len(results)} lists for {len(images)} images."
            )
        return [
            most_confident(
                filter(None, (clip_object(item, image.size) for item in items)), self.max_objects
            )
            for image, items in zip(images, results, strict=True)
        ]

    def detect(self, images: ImageInput | Sequence[ImageInput]) -> list[list[Object]]:
        """Detect the objects of one or more images: those a call would use, most confident first.

        Raises:
            ValueError: if the processor has no detector.
        """
        rows, _ = _match_queries(images, None)
        return self._detect([load_image(image) for image in rows])

    def draw(self, image: ImageInput, objects: Objects | None = None) -> Image.Image:
        """Draw numbered, labelled boxes, by default the detector's, on a copy of an image.

        A small image is enlarged by an integer factor.
        """
        loaded = load_image(image)
        if objects is None:
            objects = self.detect(loaded)[0]
        clipped = (clip_object(as_object(item), loaded.size) for item in objects)
        draw_objects = library_module("drawing").draw_objects
        return draw_objects(loaded, list(filter(None, clipped)))

    # -- tokens --------------------------------------------------------------------------------

    @property
    def image_token(self) -> str:
        """Token whose embedding is the image's."""
        return IMAGE_TOKEN

    @property
    def object_token(self) -> str:
        """Token whose embedding is an object's."""
        return OBJECT_TOKEN

    @property
    def image_token_id(self) -> int:
        """Id of ``<image>``, the model configuration's ``image_token_id``."""
        return self.tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)

    @property
    def object_token_id(self) -> int:
        """Id of ``<object>``, the model configuration's ``object_token_id``."""
        return self.tokenizer.convert_tokens_to_ids(OBJECT_TOKEN)

    @property
    def num_image_tokens(self) -> int:
        """Maximum number of slots of an image: its own and one for each object."""
        slots = self.max_objects
        return 1 + (slots if self.max_object_slots is None else min(slots, self.max_object_slots))

    @property
    def model_input_names(self) -> list[str]:
        """Names of the tensors that a call returns."""
        images = ["pixel_values", "object_pixel_values", "object_mask"]
        return ["input_ids", "attention_mask", *images]

    def post_process_clues(self, sequences: Any, prompt_length: int = 0) -> list[str]:
        """Decode generated clues.

        Args:
            sequences: int (N, T), as ``generate`` returns them. A clue ends before its first end
                token.
            prompt_length: leading tokens to drop.
        """
        end = self.tokenizer.eos_token_id
        rows = sequences.tolist() if hasattr(sequences, "tolist") else sequences
        clues = []
        for row in rows:
            ids = list(row)[prompt_length:]
            ids = ids[: ids.index(end)] if end in ids else ids
            clues.append(self.tokenizer.decode(ids, skip_special_tokens=True).strip())
        return clues

    # -- files ---------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Return the settings; template and detector's weights have files of their own."""
        content = super().to_dict()
        for name in ("prompt_template", "detector", "object_cache"):
            content.pop(name, None)
        if type(self.detector).__name__ in DETECTORS:
            content["detector"] = {"detector_type": type(self.detector).__name__}
        # Saving writes this class into the image processor's `auto_map`, where it is wrong.
        pixels = content.get("image_processor")
        if isinstance(pixels, dict) and "AutoImageProcessor" not in pixels.get("auto_map", {}):
            pixels.pop("auto_map", None)
        if type(self.image_processor).__name__.endswith("Pil"):
            content["image_processor_backend"] = "pil"
        return content

    def save_pretrained(
        self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs: Any
    ) -> list[str]:
        """Write all that ``from_pretrained`` needs, this code included, and return the paths.

        With ``push_to_hub=True`` it is uploaded to ``repo_id`` (default: the folder's name).

        Raises:
            ValueError: if the detector is of a class that a checkpoint cannot hold.
        """
        if self.detector is not None and type(self.detector).__name__ not in DETECTORS:
            raise ValueError(
                f"A {type(self.detector).__name__} cannot be saved in a checkpoint: set "
                "processor.detector to None, or to one of " + ", ".join(DETECTORS) + "."
            )
        files = list(super().save_pretrained(str(save_directory)))
        # Saving sets `auto_map` on these objects as well, but only the files need it.
        for part in (self, self.image_processor):
            getattr(part, "__dict__", {}).pop("auto_map", None)
        template = Path(save_directory, PROMPT_TEMPLATE_NAME)
        files.append(write_file(template, self.prompt_template + "\n"))
        if self.detector is not None:
            files += self.detector.save_pretrained(save_directory)  # type: ignore[attr-defined]
        if push_to_hub:
            self.push_to_hub(kwargs.pop("repo_id", Path(save_directory).name), **kwargs)
        return files

    @classmethod
    def get_processor_dict(
        cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Read the settings, the prompt template and the detector of a checkpoint."""
        location, _ = split_hub_arguments(kwargs)
        content, rest = super().get_processor_dict(pretrained_model_name_or_path, **kwargs)
        template = find_file(pretrained_model_name_or_path, PROMPT_TEMPLATE_NAME, location)
        if template is not None and "prompt_template" not in rest:
            # Line breaks stay as they are; only the one at the end of the file is dropped.
            text = Path(template).read_bytes().decode()
            content["prompt_template"] = text.removesuffix("\n").removesuffix("\r")
        saved = content.pop("detector", None)
        if saved is not None and "detector" not in rest:
            kind = DETECTORS.get(saved.get("detector_type"))
            if kind is None:
                raise ValueError(f"The checkpoint's detector {saved} is of an unknown type.")
            folder = str(pretrained_model_name_or_path)
            content["detector"] = kind.from_pretrained(folder, **location)
        return content, rest

    @classmethod
    def _get_arguments_from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        processor_dict: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> list[Any]:
        # Tokenizer and image processor would keep the processor's own settings, and fail to write
        # a detector as JSON.
        kwargs = {key: value for key, value in kwargs.items() if key not in _OWN_SETTINGS}
        arguments = super()._get_arguments_from_pretrained(
            pretrained_model_name_or_path, processor_dict, **kwargs
        )
        # transformers writes one class name for both backends, whose pixels differ slightly.
        backend = (processor_dict or {}).get("image_processor_backend")
        if backend is not None and "backend" not in kwargs:
            arguments[0] = AutoImageProcessor.from_pretrained(
                pretrained_model_name_or_path, backend=backend, **kwargs
            )
        return arguments


# -- arguments of a call -----------------------------------------------------------------------


def _check_call(given: Mapping[str, Any]) -> None:
    """Reject keyword arguments that would be ignored; warn of a `max_length` without effect."""
    for wrong, right in _MISSPELLED.items():
        if wrong in given:
            raise TypeError(f"GeMKRProcessor takes {right}=, not {wrong}=.")
    for name in _OWN_SETTINGS:
        if name in given:
            raise TypeError(
                f"{name} is a setting of the processor, not of a call: set processor.{name}, or "
                "give it to from_pretrained."
            )
    # transformers also takes them in one of these dicts.
    groups = (given, given.get("text_kwargs") or {}, given.get("common_kwargs") or {})
    text = {name: value for group in groups for name, value in group.items()}
    if text.get("padding_side") not in (None, "left"):
        raise ValueError(
            f"padding_side={text['padding_side']!r} is not possible: prompts are continued, so "
            "they must be padded on the left."
        )
    padded = text.get("padding") == "max_length"
    if text.get("max_length") is not None and not _is_truncating(text) and not padded:
        logger.warning(
            "max_length=%s has no effect without truncation=True, which truncates questions, or "
            'padding="max_length".',
            text["max_length"],
        )


def _is_truncating(settings: Mapping[str, Any]) -> bool:
    return settings.get("truncation") not in (None, False, "do_not_truncate")


def _is_batch(images: Any) -> bool:
    if isinstance(images, list | tuple):
        return True
    return isinstance(images, np.ndarray | torch.Tensor) and images.ndim == 4


def _match_queries(images: Any, text: Any) -> tuple[list[Any], list[str] | None]:
    """Return lists of B images and B questions (or None).

    Raises:
        ValueError: if the numbers do not match or a question is empty.
    """
    rows = list(images) if _is_batch(images) else [images]
    for row, image in enumerate(rows):
        if isinstance(image, list | tuple):  # a query's own list, as several libraries nest them
            if len(image) > 1:
                raise ValueError(f"A question is about one image, not {len(image)}.")
            rows[row] = image[0] if image else None
    questions = None
    if text is not None:
        if not isinstance(text, str) and not hasattr(text, "__iter__"):
            raise ValueError(f"A question must be a text, not a {type(text).__name__}.")
        questions = [text] if isinstance(text, str) else list(text)
        if images is None:
            rows = [None] * len(questions)
        if len(rows) != len(questions):
            raise ValueError(
                f"{len(rows)} images do not match {len(questions)} questions: give one image, or "
                "None, for each question."
            )
        for row, question in enumerate(questions):
            if question is None and rows[row] is not None:
                questions[row] = ""  # an image alone
            elif not isinstance(question, str):
                raise ValueError(f"Question {row} is a {type(question).__name__}, not a text.")
            elif not question.strip():
                raise ValueError(f"Question {row} is empty.")
    if not rows:
        raise ValueError("The batch is empty: give at least one query.")
    return rows, questions


def _match_objects(objects: Any, number: int, single: bool) -> list[Any]:
    """Return a list of objects (or None) for each query."""
    if objects is None:
        return [None] * number
    if is_box(objects) or not hasattr(objects, "__iter__") or isinstance(objects, str | dict):
        raise ValueError(
            "objects must be a list of boxes (x0, y0, x1, y1), or one such list for each image, "
            f"not {str(objects)[:60]!r}."
        )
    rows = list(objects)
    if single and number == 1 and (not rows or all(is_box(row) for row in rows)):
        return [rows]
    if len(rows) != number:
        raise ValueError(f"{len(rows)} lists of objects do not match {number} images.")
    for row, boxes in enumerate(rows):
        if boxes is not None and (hasattr(boxes, "box") or not hasattr(boxes, "__len__")):
            raise ValueError(f"The objects of query {row} are not a list of objects: {boxes!r}.")
    return rows


def _match_captions(captions: Any, number: int) -> list[str]:
    """Return one caption for each query, empty where there is none."""
    if captions is None:
        return [""] * number
    rows = _rows(captions, number, "captions")
    for row, caption in enumerate(rows):
        if caption is not None and not isinstance(caption, str):
            raise ValueError(f"Caption {row} is a {type(caption).__name__}, not a text.")
    return [(caption or "").strip() for caption in rows]


def _match_clues(clues: Any, questions: list[str] | None) -> list[Any] | None:
    """Return one clue for each query, a text or token ids."""
    if clues is None:
        return None
    if questions is None:
        raise ValueError("Clues answer questions: give text.")
    if len(questions) == 1 and not isinstance(clues, str):
        clues = list(clues)
        if clues and isinstance(clues[0], int | np.integer):
            clues = [clues]  # the token ids of the one clue
    return _rows(clues, len(questions), "clues")


def _rows(values: Any, number: int, name: str) -> list[Any]:
    rows = [values] if isinstance(values, str) else list(values)
    if len(rows) != number:
        raise ValueError(f"{len(rows)} {name} do not match {number} questions.")
    return rows


# -- token ids ---------------------------------------------------------------------------------


def _encode_clues(
    tokenizer: Any, clues: Sequence[str | Sequence[int]], special_tokens: Sequence[str]
) -> list[list[int]]:
    """Tokenize clues, each with the end token.

    A text gets one leading space, as the documents of a knowledge base do: its first token has the
    form that it has within a sentence.
    """
    if tokenizer.eos_token_id is None:
        raise ValueError("The tokenizer has no end token (eos_token), which ends a clue.")
    rows = []
    for row, clue in enumerate(clues):
        if isinstance(clue, str):
            clue = " " + escape_tokens(clue.strip(), special_tokens)
            clue = tokenizer(clue, add_special_tokens=False)["input_ids"] if clue.strip() else []
        ids = [int(token) for token in clue]
        if not ids:
            raise ValueError(f"Clue {row} is empty.")
        rows.append([*ids, tokenizer.eos_token_id])
    return rows


def _encode_prompts(
    tokenizer: Any,
    questions: list[str],
    fill: Callable[[int, str], str],
    reserved: list[int],
    settings: dict[str, Any],
) -> list[list[int]]:
    """Tokenize the prompts ``fill(row, question)``, with the tokenizer's leading special tokens.

    With ``truncation`` and ``max_length`` in ``settings`` a question is truncated, so that the
    prompt and ``reserved`` tokens fit; instruction, slots and clue are never truncated.
    """
    add = settings.get("add_special_tokens", True)

    def encode(texts: list[str]) -> list[list[int]]:
        rows = tokenizer(texts, add_special_tokens=add)["input_ids"]
        # A prompt is continued: an end token that the tokenizer adds is removed.
        end = tokenizer.eos_token_id
        return [list(ids[:-1]) if len(ids) > 1 and ids[-1] == end else list(ids) for ids in rows]

    rows = encode([fill(row, question) for row, question in enumerate(questions)])
    limit = settings.get("max_length")
    if limit is None or not _is_truncating(settings):
        return rows
    for row, question in enumerate(questions):
        kept = tokenizer(question, add_special_tokens=False)["input_ids"]
        while (excess := len(rows[row]) + reserved[row] - limit) > 0:
            if not kept:
                raise ValueError(
                    f"Query {row} does not fit into max_length={limit} even without its question."
                )
            kept = kept[: max(0, len(kept) - excess)]
            [rows[row]] = encode([fill(row, tokenizer.decode(kept).strip())])
    return rows


def pad_left(
    tokenizer: Any, queries: Sequence[tuple[list[int], list[int]]], settings: dict[str, Any]
) -> dict[str, torch.Tensor]:
    """Concatenate prompts and clues, pad on the left, and label the clues (-100 elsewhere).

    Args:
        tokenizer: gives the padding token.
        queries: B pairs of prompt and clue.
        settings: ``padding``, ``max_length`` and ``pad_to_multiple_of`` of a call.

    Returns:
        dict of int64 tensors (B, T): ``input_ids``, ``attention_mask``, and with clues ``labels``.
    """
    rows = [prompt + clue for prompt, clue in queries]
    length = max(map(len, rows))
    padding = settings.get("padding", True)
    if padding in (False, None, "do_not_pad") and any(len(row) != length for row in rows):
        raise ValueError("Prompts of different lengths need padding=True.")
    if padding == "max_length" and settings.get("max_length") is not None:
        length = max(length, settings["max_length"])
    multiple = settings.get("pad_to_multiple_of")
    if multiple:
        length = math.ceil(length / multiple) * multiple
    pad = tokenizer.pad_token_id
    pad = tokenizer.eos_token_id if pad is None else pad  # never read: it is masked
    input_ids = torch.full((len(rows), length), 0 if pad is None else pad, dtype=torch.int64)
    attention_mask = torch.zeros_like(input_ids)
    labels = torch.full_like(input_ids, -100)
    for row, (ids, (_, clue)) in enumerate(zip(rows, queries, strict=True)):
        input_ids[row, length - len(ids) :] = torch.tensor(ids)
        attention_mask[row, length - len(ids) :] = 1
        labels[row, length - len(clue) :] = torch.tensor(clue, dtype=torch.int64)
    batch = {"input_ids": input_ids, "attention_mask": attention_mask}
    return {**batch, "labels": labels} if any(clue for _, clue in queries) else batch


# -- templates and special tokens --------------------------------------------------------------


def check_prompt_template(template: str) -> None:
    """Raise ``ValueError`` unless ``{question}`` and ``{image}`` occur in it once each."""
    for name in ("{question}", "{image}"):
        if template.count(name) != 1:
            raise ValueError(
                f"The prompt template needs {name} exactly once, and contains it "
                f"{template.count(name)} times."
            )
    if template.count("{caption}") > 1:
        raise ValueError("The prompt template may have {caption} once, not several times.")
    unknown = set(re.findall(r"\{(\w+)\}", template)) - {"question", "image", "caption"}
    if unknown:
        raise ValueError(
            "The fields of a prompt template are {question}, {image} and {caption}, not "
            f"{{{min(unknown)}}}."
        )
    for token in (IMAGE_TOKEN, OBJECT_TOKEN):
        if token in template:
            raise ValueError(f"The prompt template must not have {token}: write {{image}} instead.")


def check_object_template(template: str) -> None:
    """Raise ``ValueError`` unless it has one ``<object>`` and only known fields."""
    if template.count(OBJECT_TOKEN) != 1 or IMAGE_TOKEN in template:
        raise ValueError(f"The object template needs {OBJECT_TOKEN} exactly once: {template!r}.")
    try:
        fields = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
    except ValueError as error:
        raise ValueError(f"The object template {template!r} is malformed: {error}.") from error
    unknown = fields - {"place", "size", "label"}
    if unknown:
        raise ValueError(
            "The fields of an object template are {place}, {size} and {label}, not "
            f"{{{min(unknown)}}}."
        )


def fill_prompt(template: str, question: str, image: str, caption: str = "") -> str:
    """Fill a prompt template; braces in the values have no meaning.

    A caption for which the template has no field follows the question, as in the released code.

    >>> fill_prompt("Q: {question} I: {image}", "What is it?", "<image>", "a {dog}")
    'Q: What is it? a {dog} I: <image>'
    """
    if caption and "{caption}" not in template:
        question = f"{question} {caption}"
    values = {"{question}": question, "{image}": image, "{caption}": caption}
    return re.sub(
        r"\{question\}|\{image\}|\{caption\}", lambda match: values[match.group()], template
    )


def place_of(box: Box, size: tuple[int, int]) -> str:
    """Name the quadrant of a box's center: ``top left`` ... ``bottom right``."""
    vertical = "top" if (box[1] + box[3]) / 2 < size[1] / 2 else "bottom"
    horizontal = "left" if (box[0] + box[2]) / 2 < size[0] / 2 else "right"
    return f"{vertical} {horizontal}"


def size_of(box: Box, size: tuple[int, int], large_object: float) -> str:
    """``large`` if the square root of a box's share of the image reaches ``large_object``."""
    share = (box[2] - box[0]) * (box[3] - box[1]) / (size[0] * size[1])
    return "large" if math.sqrt(share) >= large_object else "small"


def special_strings(tokenizer: Any) -> list[str]:
    """Return all texts that the tokenizer reads as special tokens, longest first."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    strings = {str(token) for token in added if getattr(token, "special", False)}
    strings |= {str(token) for token in tokenizer.all_special_tokens}
    return sorted(strings - {""}, key=lambda text: (-len(text), text))


def escape_tokens(text: str, special_tokens: Sequence[str]) -> str:
    """Break special tokens in a user's text: ``<image>`` becomes ``< image>``, not a slot."""
    for token in special_tokens:
        while len(token) > 1 and token in text:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


GeMKRProcessor.register_for_auto_class("AutoProcessor")

__all__ = [
    "DEFAULT_OBJECT_TEMPLATE",
    "DEFAULT_PROMPT_TEMPLATE",
    "IMAGE_TOKEN",
    "OBJECT_TOKEN",
    "PROMPT_TEMPLATE_NAME",
    "GeMKRProcessor",
]
