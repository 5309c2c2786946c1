"""Questions about images as inputs of GeMKR."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from transformers import AutoImageProcessor, BatchFeature, ProcessorMixin

from .batch_gemkr import (
    batch_of,
    captions_of,
    check_slots,
    encode_clues,
    encode_prompts,
    pad_left,
)
from .cache_gemkr import ObjectCache
from .call_gemkr import OWN_SETTINGS, check_call_settings
from .detection_gemkr import (
    Detector,
    Object,
    as_object,
    choose_objects,
    clip_object,
    most_confident,
)
from .drawing_gemkr import draw_objects
from .files_gemkr import find_file, split_location, write_text
from .images_gemkr import ImageInput, load_image
from .pixels_gemkr import encode_pixels
from .prompt_gemkr import (
    DEFAULT_OBJECT_TEMPLATE,
    DEFAULT_PROMPT_TEMPLATE,
    IMAGE_TOKEN,
    OBJECT_TOKEN,
    check_image_tokens,
    check_object_template,
    check_prompt_template,
    describe_objects,
    escape_tokens,
    fill_prompt,
    special_strings,
)
from .transformers_detector_gemkr import TransformersDetector
from .yolo_gemkr import YoloDetector

PROMPT_TEMPLATE_NAME = "prompt_template.txt"
DETECTORS = {kind.__name__: kind for kind in (YoloDetector, TransformersDetector)}

Objects = Sequence[Object | Sequence[float]]


class GeMKRProcessor(ProcessorMixin):
    """Images and questions to the tensors that ``GeMKRForRetrieval.forward`` takes.

    Args:
        image_processor, tokenizer: of the vision tower and of the language model. The tokenizer has
            ``<image>`` and ``<object>`` as special tokens, see :func:`add_image_tokens`.
        detector: Detector. Finds the objects of images whose boxes are not given.
        prompt_template: text with ``{question}`` and ``{image}``, and ``{caption}`` if wanted;
            ``prompt_template.txt`` in a checkpoint. :func:`chat_prompt_template` makes one for a
            chat model.
        max_objects: most objects of an image, the most confident ones (5 in the paper).
        max_object_slots: how many of them, the most confident first, get an ``<object>`` in the
            prompt; all by default. The model's configuration has the same setting.
        object_cache: ObjectCache or path. Where found objects are kept, so that no image is
            detected twice. Stays on this machine: a checkpoint does not hold it.
        object_margin: share of a box's width and height by which its crop is wider on each side.
        object_template: what stands for one object in the prompt: ``<object>``, and if wanted
            ``{place}`` (quadrant of its centre), ``{size}`` (``large`` or ``small``), ``{label}``.
        object_separator: text between two objects.
        large_object: an object is large from this square root of its share of the image on.
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
        object_cache: ObjectCache | str | os.PathLike | None = None,
    ) -> None:
        super().__init__(image_processor, tokenizer, chat_template=chat_template)
        check_image_tokens(tokenizer)
        template = DEFAULT_PROMPT_TEMPLATE if prompt_template is None else prompt_template
        check_prompt_template(template)
        check_object_template(object_template)
        if max_objects < 0 or object_margin < 0:
            raise ValueError(
                "max_objects and object_margin are not negative, "
                f"got {max_objects} and {object_margin}."
            )
        if max_object_slots is not None and max_object_slots < 0:
            raise ValueError(f"max_object_slots is not negative, got {max_object_slots}.")
        if detector is not None and not hasattr(detector, "detect"):
            raise ValueError(f"A {type(detector).__name__} is no detector: it has no detect().")
        self.detector = detector
        self.prompt_template = template
        self.max_objects = max_objects
        self.max_object_slots = max_object_slots
        if isinstance(object_cache, str | os.PathLike):
            object_cache = ObjectCache(object_cache)
        self.object_cache = object_cache
        self.object_margin = object_margin
        self.object_template = object_template
        self.object_separator = object_separator
        self.large_object = large_object

    # inputs -------------------------------------------------------------------------------------

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
        """Make a batch of B queries.

        Args:
            images: one image or B images. Anything that :func:`load_image` reads; None for a query
                in words alone.
            text: one question or B questions. Without it only the images' tensors are made. None
                among B of them: the query is a image alone.
            objects: objects of the image, or of each of B images ``Object`` or ``(x0, y0, x1, y1)``
                in pixels of the upright image. None (for one or for all): the detector finds them,
                and without a detector there are none.
            clues: B texts or lists of token ids. What the model shall answer; gives ``labels``.
            captions: one text or B texts. The images in words: beside them, as in the released
                code, or in their place (Table 3, "w/o Visual Queries").
            return_objects: also return ``objects``, a list of the used :class:`Object` an image.
            **kwargs: ``return_tensors`` (``"pt"`` or ``"np"``), ``padding`` (True, False or
                ``"max_length"``; always on the left), ``pad_to_multiple_of``, ``max_length`` with
                ``truncation=True`` (cuts the question's end) or ``padding="max_length"``, and
                arguments of the image processor.

        Returns:
            BatchFeature: ``input_ids``, ``attention_mask`` : int64 (B, T), padded left. A row with
            an image has one ``<image>`` and one ``<object>`` an object, a row without has neither.
            ``pixel_values`` : float32 (P, 3, H, W), the P <= B images in the order of their rows.
            ``object_pixel_values`` : float32 (P, max_objects, 3, H, W), zeros where no object.
            ``object_mask`` : bool (P, max_objects). ``labels`` : int64 (B, T), the clue and the end
            token (Eq. 8), -100 elsewhere. The three of images are absent when no query has one.

        Raises:
            TypeError, ValueError, FileNotFoundError: for a mistaken argument, an empty question,
                numbers that do not match, a box that is none, a bad image.
        """
        check_call_settings(kwargs)
        if images is None and text is None:
            raise ValueError("A query needs a question: give text, and images if it is about one.")
        settings = self._merge_kwargs(tokenizer_init_kwargs=self.tokenizer.init_kwargs, **kwargs)
        text_settings, image_settings = settings["text_kwargs"], settings["images_kwargs"]
        tensor_type = text_settings.get("return_tensors") or "pt"
        rows, questions, given, clues = batch_of(images, text, objects, clues)
        if captions is not None and questions is None:
            raise ValueError("Captions stand beside questions or in them: give text.")
        loaded = [None if image is None else load_image(image) for image in rows]
        found = choose_objects(
            loaded, given, self.max_objects, self._detect if self.detector else None
        )

        data: dict[str, Any] = {}
        if questions is not None:
            sizes = [None if image is None else image.size for image in loaded]
            rows = self.encode_queries(questions, sizes, found, clues, captions, **text_settings)
            data |= pad_left(self.tokenizer, rows, text_settings)
        data |= encode_pixels(
            self.image_processor,
            loaded,
            found,
            self.max_objects,
            self.object_margin,
            image_settings,
        )
        if tensor_type == "np":
            data = {name: value.numpy() for name, value in data.items()}
        batch = BatchFeature(data, tensor_type=tensor_type)
        if return_objects:
            batch["objects"] = found
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
        """Token ids of prompts and clues, before padding: for training on prepared images.

        Args:
            questions: B texts.
            sizes: width and height of each image, None for a query in words alone.
            objects: the objects of each image, as a call returns them with ``return_objects``.
            clues: B texts or lists of token ids.
            captions: B texts.
            **settings: ``max_length`` and ``truncation`` of a call.

        Returns:
            list of B pairs: The prompt, and the clue with the end token (empty without clues).
        """
        special = special_strings(self.tokenizer)
        slots = self.max_objects if self.max_object_slots is None else self.max_object_slots
        described = [list(found)[:slots] for found in objects]
        in_words = [
            escape_tokens(caption, special) for caption in captions_of(captions, len(questions))
        ]
        sections = [
            ""
            if size is None
            else describe_objects(
                found,
                size,
                self.object_template,
                self.object_separator,
                self.large_object,
                special,
            )
            for size, found in zip(sizes, described, strict=True)
        ]
        if clues is None:
            endings: list[list[int]] = [[] for _ in questions]
        else:
            endings = encode_clues(self.tokenizer, clues, special)
        prompts = encode_prompts(
            self.tokenizer,
            [escape_tokens(question, special) for question in questions],
            lambda row, question: fill_prompt(
                self.prompt_template, question, sections[row], in_words[row]
            ),
            reserved=[len(ending) for ending in endings],
            settings=settings,
        )
        # Nothing but the processor makes slots: a wrong number would shift all objects.
        check_slots(
            prompts,
            {IMAGE_TOKEN: self.image_token_id, OBJECT_TOKEN: self.object_token_id},
            [
                {IMAGE_TOKEN: int(size is not None), OBJECT_TOKEN: len(found)}
                for size, found in zip(sizes, described, strict=True)
            ],
        )
        return list(zip(prompts, endings, strict=True))

    # objects ------------------------------------------------------------------------------------

    def _detect(self, images: list[Image.Image]) -> list[list[Object]]:
        if self.detector is None:
            raise ValueError("The processor has no detector: set processor.detector.")
        if self.object_cache is not None:
            results = self.object_cache.detect(self.detector, images)
        else:
            results = self.detector.detect(images)
        if len(results) != len(images):
            raise ValueError(
                f"The detector answered {len(results)} lists for {len(images)} images."
            )
        kept = []
        for image, result in zip(images, results, strict=True):
            clipped = (clip_object(found, image.size) for found in result)
            kept.append(
                most_confident((found for found in clipped if found is not None), self.max_objects)
            )
        return kept

    def detect(self, images: ImageInput | Sequence[ImageInput]) -> list[list[Object]]:
        """Find the objects of one or more images: what a call would use, most confident first.

        Raises:
            ValueError: if the processor has no detector.
        """
        rows, *_ = batch_of(images, None, None, None)
        return self._detect([load_image(image) for image in rows])

    def draw(self, image: ImageInput, objects: Objects | None = None) -> Image.Image:
        """The image with numbered, labelled boxes; ``objects=None`` runs the detector.

        A small image comes back enlarged by a whole number.
        """
        loaded = load_image(image)
        if objects is None:
            objects = self.detect(loaded)[0]
        clipped = (clip_object(as_object(found), loaded.size) for found in objects)
        return draw_objects(loaded, [found for found in clipped if found is not None])

    # tokens -------------------------------------------------------------------------------------

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
        """Most slots that an image takes: its own and one an object."""
        slots = self.max_objects
        return 1 + (slots if self.max_object_slots is None else min(slots, self.max_object_slots))

    @property
    def model_input_names(self) -> list[str]:
        """Names of the tensors that a call gives."""
        return [
            "input_ids",
            "attention_mask",
            "pixel_values",
            "object_pixel_values",
            "object_mask",
        ]

    def post_process_clues(self, sequences: Any, prompt_length: int = 0) -> list[str]:
        """Texts of generated clues.

        ``sequences`` : int (N, T) as ``generate`` returns them; the first ``prompt_length`` tokens
        are dropped, and a clue ends before its first end token.
        """
        end = self.tokenizer.eos_token_id
        rows = sequences.tolist() if hasattr(sequences, "tolist") else sequences
        clues = []
        for row in rows:
            ids = list(row)[prompt_length:]
            ids = ids[: ids.index(end)] if end in ids else ids
            clues.append(self.tokenizer.decode(ids, skip_special_tokens=True).strip())
        return clues

    # keeping ------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The settings; template and detector's weights have files of their own."""
        content = super().to_dict()
        content.pop("prompt_template", None)
        content.pop("detector", None)
        content.pop("object_cache", None)
        if type(self.detector).__name__ in DETECTORS:
            content["detector"] = {"detector_type": type(self.detector).__name__}
        # Saving marks the image processor with this class, which is not its own.
        pixels = content.get("image_processor")
        if isinstance(pixels, dict) and "AutoImageProcessor" not in pixels.get("auto_map", {}):
            pixels.pop("auto_map", None)
        if type(self.image_processor).__name__.endswith("Pil"):
            content["image_processor_backend"] = "pil"
        return content

    def save_pretrained(
        self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs: Any
    ) -> list[str]:
        """Write all that ``from_pretrained`` needs, this code included; returns the paths.

        With ``push_to_hub=True`` it is uploaded to ``repo_id`` (default: the folder's name).
        """
        if self.detector is not None and type(self.detector).__name__ not in DETECTORS:
            raise ValueError(
                f"A {type(self.detector).__name__} cannot be kept in a checkpoint: set "
                "processor.detector to None, or to one of " + ", ".join(DETECTORS) + "."
            )
        files = list(super().save_pretrained(str(save_directory)))
        # Saving marks these very objects with where the code is, which only the files need.
        for part in (self, self.image_processor):
            getattr(part, "__dict__", {}).pop("auto_map", None)
        template = Path(save_directory, PROMPT_TEMPLATE_NAME)
        write_text(template, self.prompt_template + "\n")  # a text file ends with a line break
        files.append(str(template))
        if self.detector is not None:
            files += self.detector.save_pretrained(save_directory)  # type: ignore[attr-defined]
        if push_to_hub:
            self.push_to_hub(kwargs.pop("repo_id", Path(save_directory).name), **kwargs)
        return files

    @classmethod
    def get_processor_dict(
        cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Read the settings, the prompt's template and the detector of a checkpoint."""
        where, _ = split_location(kwargs)
        content, rest = super().get_processor_dict(pretrained_model_name_or_path, **kwargs)
        template = find_file(pretrained_model_name_or_path, PROMPT_TEMPLATE_NAME, where)
        if template is not None and "prompt_template" not in rest:
            # With the line breaks that it has, less the one that ends the file.
            text = Path(template).read_bytes().decode()
            content["prompt_template"] = text.removesuffix("\n").removesuffix("\r")
        kept = content.pop("detector", None)
        if kept is not None and "detector" not in rest:
            kind = DETECTORS.get(kept.get("detector_type"))
            if kind is None:
                raise ValueError(f"The checkpoint's detector {kept} is of an unknown type.")
            content["detector"] = kind.from_pretrained(str(pretrained_model_name_or_path), **where)
        return content, rest

    @classmethod
    def _get_arguments_from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        processor_dict: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> list[Any]:
        # The processor's own settings are not for tokenizer and image processor, which keep what
        # they are given and would fail to write a detector as JSON.
        kwargs = {key: value for key, value in kwargs.items() if key not in OWN_SETTINGS}
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


GeMKRProcessor.register_for_auto_class("AutoProcessor")

__all__ = ["DETECTORS", "PROMPT_TEMPLATE_NAME", "GeMKRProcessor"]
