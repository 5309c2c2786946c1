"""GeMKRForRetrieval: images, objects and a question in; the tokens of a knowledge clue out."""

import copy
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers import initialization as init
from transformers.cache_utils import Cache
from transformers.dynamic_module_utils import custom_object_save
from transformers.modeling_outputs import BaseModelOutputWithPooling, MultimodalModelOutput
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.deprecation import deprecate_kwarg
from transformers.utils.generic import can_return_tuple

from .configuration_gemkr import GeMKRConfig
from .generation_gemkr import GeMKRGenerationMixin
from .parts_gemkr import (
    adopt_quantization,
    align_special_tokens,
    check_quantization,
    load_language_model,
    load_vision_model,
    only_language_model,
    set_slot_rows,
)
from .reference_gemkr import base_model_of, find_checkpoint, forget_paths, load_by_reference
from .slots_gemkr import check_slots, fill_slots, find_slots
from .vision_gemkr import ObjectAwarePrefix, build_vision_tower

_ASKED = ("output_hidden_states", "output_attentions")


@dataclass
class GeMKROutput(MultimodalModelOutput):
    """Output of `GeMKRForRetrieval`.

    loss : float tensor (), with `labels`: Eq. 8 per clue token.
    logits : float tensor (batch_size, sequence_length, vocab_size).
    cache : Cache of the language model.
    hidden_states, attentions : of the language model, when asked for.
    image_hidden_states : float tensor (images, 1 + objects, D), H'_v of Eq. 7; None without
        images.
    image_outputs : of `get_image_features`, with `pixel_values`; hidden states and attentions of
        the vision tower when asked for.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    cache: Cache | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None
    image_hidden_states: torch.Tensor | None = None
    image_outputs: BaseModelOutputWithPooling | None = None


class GeMKRForRetrieval(PreTrainedModel, GeMKRGenerationMixin):
    """The generative retriever of the paper: CLIP with an object-aware prefix, aligned to an LLM.

    Parts: `vision_tower` (frozen), `prefix` (prefixes and gates), `object_projection`
    (`H_R = Linear(X_R)`), `alignment` (Eq. 7) and `language_model` (frozen, tuned by LoRA); a part
    that the configuration switches off is None. `lora_arguments()` is what PEFT needs.
    """

    config: GeMKRConfig
    config_class = GeMKRConfig
    main_input_name = "input_ids"
    input_modalities = ("image", "text")  # type: ignore[assignment]
    supports_gradient_checkpointing = True
    _skip_keys_device_placement = ["cache"]  # noqa: RUF012
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True
    loaded_from: tuple[str, dict[str, Any]] | None = None
    """Folder or Hub id of the checkpoint or adapter, and what says where it lies (revision...): a
    processor is found there. None for a model that was not loaded."""

    def __init__(self, config: GeMKRConfig, language_model: PreTrainedModel | None = None) -> None:
        """Build with random weights; `language_model` takes the place of a new one as it is."""
        super().__init__(config)
        width = config.vision_config.hidden_size
        visual = config.use_visual_query
        objects = visual and config.use_object_features
        self.vision_tower: Any = build_vision_tower(config.vision_config) if visual else None
        if language_model is None:
            language_model = AutoModelForCausalLM.from_config(config.text_config)
        # One object, so that what is set later (vocabulary, attention) reaches the model.
        config.text_config = language_model.config
        self.prefix = ObjectAwarePrefix(config) if visual and config.use_prefix else None
        self.object_projection: nn.Module | None = None
        if objects:
            self.object_projection = nn.Linear(width, width) if config.project_objects else _Same()
        self.language_model = language_model
        embedding_size: int = language_model.get_input_embeddings().weight.shape[1]  # type: ignore
        self.alignment = nn.Linear(width, embedding_size) if visual else None
        self.loss_type = "ForCausalLM"
        parameters = inspect.signature(language_model.forward).parameters
        self._takes_position_ids = "position_ids" in parameters
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        # The towers initialise themselves; `init` skips what was loaded from a checkpoint.
        super()._init_weights(module)
        if isinstance(module, ObjectAwarePrefix):
            init.normal_(module.embeddings, mean=0.0, std=self.config.initializer_range)
            if module.gates is not None:
                init.zeros_(module.gates)

    # -- embeddings, as a language model has them --------------------------------------------

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        return self.language_model.get_output_embeddings()

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        self.language_model.set_output_embeddings(new_embeddings)

    # -- images ----------------------------------------------------------------------------

    @torch.no_grad()
    def get_object_features(
        self, object_pixel_values: torch.Tensor, object_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """X_R: the objects as the frozen CLIP sees them, without a prefix.

        They do not change in training: compute them once and pass them as `object_features`.

        Args:
            object_pixel_values: float tensor (images, objects, 3, height, width).
            object_mask: bool tensor (images, objects). False where there is no object; all True by
                default.

        Returns:
            float tensor (images, objects, d), zero where there is no object.

        Raises:
            ValueError: if the mask is of another shape.
        """
        shape = object_pixel_values.shape[:2]
        if object_mask is None:
            object_mask = torch.ones(shape, dtype=torch.bool, device=object_pixel_values.device)
        if object_mask.shape != shape:
            raise ValueError(
                f"object_mask has shape {tuple(object_mask.shape)}, but object_pixel_values holds "
                f"{shape[0]} images with {shape[1]} objects each."
            )
        object_mask = object_mask.bool()
        width = self.config.vision_config.hidden_size
        features = torch.zeros(
            (*shape, width), dtype=self.vision_tower.dtype, device=object_pixel_values.device
        )
        crops = object_pixel_values[object_mask]
        if len(crops) > 0:
            features[object_mask] = self.vision_tower(crops).pooler_output.to(features.dtype)
        return features

    @can_return_tuple
    def get_image_features(
        self,
        pixel_values: torch.Tensor,
        object_pixel_values: torch.Tensor | None = None,
        object_mask: torch.Tensor | None = None,
        object_features: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPooling:
        """Eq. 3 to 7 for a batch of images.

        Args:
            pixel_values: float tensor (images, 3, height, width).
            object_pixel_values: float tensor (images, objects, 3, height, width).
            object_mask: bool tensor (images, objects). Which of them are objects; all by default.
            object_features: float tensor (images, objects, d). X_R from `get_object_features`, in
                the place of `object_pixel_values`.
            **kwargs: `output_hidden_states` and `output_attentions` of the vision tower,
                `return_dict`.

        Returns:
            BaseModelOutputWithPooling: `pooler_output` (images, 1 + objects, D) is H'_v =
            Linear([h_cls; H_R]) of Eq. 7, of at most `max_object_slots` objects, and
            `last_hidden_state` (images, tokens, d) is H_v of Eq. 3.

        Raises:
            ValueError: if there are more objects than the prefix is long, or the model takes no
                images.
        """
        if self.vision_tower is None or self.alignment is None:
            raise ValueError(
                "This model was made with use_visual_query=False and takes no images; give the "
                "processor captions in their place."
            )
        for name, given in (
            ("object_pixel_values", object_pixel_values),
            ("object_mask", object_mask),
            ("object_features", object_features),
        ):
            if given is not None and len(given) != len(pixel_values):
                raise ValueError(
                    f"{name} is of {len(given)} images, but pixel_values holds "
                    f"{len(pixel_values)}; let the processor make them together."
                )
        width = self.config.vision_config.hidden_size
        if object_features is not None and object_features.shape[-1] != width:
            raise ValueError(
                f"object_features are {object_features.shape[-1]} wide, but the vision tower gives "
                f"{width}."
            )
        objects = self._project_objects(object_pixel_values, object_mask, object_features)
        prefixes = gates = None
        if self.prefix is not None:
            prefixes, gates = self.prefix(objects)
        vision = self.vision_tower(pixel_values, prefixes=prefixes, gates=gates, **kwargs)
        visual = vision.pooler_output[:, None]
        if objects is not None:
            aligned = objects[:, : self.config.max_object_slots]
            visual = torch.cat([visual, aligned.to(visual.dtype)], dim=1)
        vision.pooler_output = self.alignment(visual.to(self.alignment.weight.dtype))
        return vision

    def _project_objects(
        self,
        object_pixel_values: torch.Tensor | None,
        object_mask: torch.Tensor | None,
        object_features: torch.Tensor | None,
    ) -> torch.Tensor | None:
        """H_R = Linear(X_R), (images, objects, d), zero where there is no object."""
        if self.object_projection is None:
            return None
        if object_features is None:
            if object_pixel_values is None:
                return None
            object_features = self.get_object_features(object_pixel_values, object_mask)
        limit = self.config.prefix_length
        if self.prefix is not None and object_features.shape[1] > limit:
            raise ValueError(
                f"{object_features.shape[1]} objects do not fit into a prefix of length {limit}; "
                "lower the processor's max_objects or raise prefix_length."
            )
        object_features = object_features.to(self.alignment.weight.dtype)  # type: ignore[union-attr]
        states = self.object_projection(object_features)
        if object_mask is not None:
            states = states * object_mask[..., None].to(states.dtype)
        return states

    # -- the model ---------------------------------------------------------------------------

    @can_return_tuple
    @deprecate_kwarg("past_key_values", "5.40.0", new_name="cache")
    def forward(  # type: ignore[misc]
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        object_pixel_values: torch.Tensor | None = None,
        object_mask: torch.Tensor | None = None,
        object_features: torch.Tensor | None = None,
        image_features: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        num_items_in_batch: torch.Tensor | int | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> GeMKROutput | tuple:
        """Score the next token at every position.

        Args:
            input_ids: int64 tensor (batch_size, sequence_length). Prompts with one `<image>` token
                and an `<object>` token per object in the rows that have an image, and neither in
                those that have none.
            attention_mask: int tensor (batch_size, sequence_length). 0 at padding. Positions count
                from the first real token: left padding changes nothing.
            pixel_values: float tensor (images, 3, height, width). One image per `<image>` token, in
                the order of the rows.
            object_pixel_values: float tensor (images, objects, 3, height, width).
            object_mask: bool tensor (images, objects).
            object_features: float tensor (images, objects, d). X_R from `get_object_features`,
                instead of `object_pixel_values`.
            image_features: float tensor (images, 1 + objects, D). H'_v from
                `get_image_features(...).pooler_output`, instead of `pixel_values`.
            labels: int64 tensor (batch_size, sequence_length). Clue tokens; -100 everywhere else.
                With `logits_to_keep=n` those of the last n positions alone, (batch_size, n): the
                head is then computed only where clues are.
            logits_to_keep: int or tensor. As in transformers: how many last positions, or which,
                get logits.
            num_items_in_batch: int or int tensor. Eq. 8's sum is divided by this number of clue
                tokens (HF Trainer passes it under gradient accumulation), by those of `labels`
                otherwise.

        Returns:
            GeMKROutput, or a tuple with `return_dict=False`.

        Raises:
            ValueError: if the slots of the prompts do not match the images and their objects, or
                labels come without the logits of all positions.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Pass exactly one of input_ids and inputs_embeds.")
        if pixel_values is not None and image_features is not None:
            raise ValueError("Pass pixel_values or image_features, not both.")
        if labels is not None and not (
            isinstance(logits_to_keep, int) and logits_to_keep in (0, labels.shape[1])
        ):
            raise ValueError(
                "labels are those of all positions, or with a number as logits_to_keep those of so "
                "many last ones: leave logits_to_keep out, or cut the labels."
            )
        image_outputs = None
        if pixel_values is not None:
            asked = {name: kwargs[name] for name in _ASKED if name in kwargs}
            image_outputs = self.get_image_features(
                pixel_values,
                object_pixel_values,
                object_mask,
                object_features,
                return_dict=True,
                **asked,
            )
            image_features = image_outputs.pooler_output
        inputs_embeds = self._embed(
            input_ids,
            inputs_embeds,
            image_features,
            object_mask,
            cache,
        )
        if position_ids is None and self._takes_position_ids:
            position_ids = positions_of(attention_mask, inputs_embeds.shape[1])
        if position_ids is not None and self._takes_position_ids:
            kwargs["position_ids"] = position_ids  # type: ignore[typeddict-unknown-key]

        outputs = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            cache=cache,
            logits_to_keep=logits_to_keep,
            return_dict=True,
            **kwargs,
        )
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits=outputs.logits,
                labels=labels,
                vocab_size=outputs.logits.shape[-1],
                num_items_in_batch=num_items_in_batch,
                shift_labels=kwargs.get("shift_labels"),
            )
        return GeMKROutput(
            loss=loss,
            logits=outputs.logits,
            cache=outputs.cache,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_hidden_states=image_features,
            image_outputs=image_outputs,
        )

    def _embed(
        self,
        input_ids: torch.LongTensor | None,
        inputs_embeds: torch.Tensor | None,
        image_features: torch.Tensor | None,
        object_mask: torch.Tensor | None,
        cache: Cache | None,
    ) -> torch.Tensor:
        """The language model's input (batch_size, sequence_length, D), images in their slots."""
        embeddings = self.get_input_embeddings()
        # What was written behind a prompt has no slots, and compiled code does not look at values.
        check = not torch.compiler.is_compiling() and (cache is None or cache.get_seq_length() == 0)
        if image_features is None and (input_ids is None or not check):
            return embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        slots = find_slots(input_ids, inputs_embeds, embeddings, self.config)
        if check:
            check_slots(*slots, image_features, object_mask)
        if inputs_embeds is None:
            # A slot's own id may lie beyond the vocabulary.
            inputs_embeds = embeddings(input_ids.masked_fill(slots[0] | slots[1], 0))  # type: ignore
        if image_features is None:
            return inputs_embeds
        return fill_slots(inputs_embeds, slots, image_features, object_mask)

    # -- training ----------------------------------------------------------------------------

    def freeze_backbones(self) -> None:
        """Leave only the prefix, the gates and the two projections trainable.

        With PEFT this is not needed: it freezes all but LoRA and `modules_to_save` itself.
        """
        self.requires_grad_(False)
        for name in self.modules_to_save:
            getattr(self, name).requires_grad_(True)

    @property
    def modules_to_save(self) -> list[str]:
        """The parts that are trained in full beside LoRA, for PEFT's `modules_to_save`."""
        parts = ("prefix", "object_projection", "alignment")
        return [name for name in parts if any(True for _ in _parameters(getattr(self, name)))]

    def lora_arguments(
        self,
        r: int = 16,
        lora_alpha: int = 32,
        lora_dropout: float = 0.05,
        names: tuple[str, ...] | None = None,
        **others: Any,
    ) -> dict[str, Any]:
        """Arguments of `peft.LoraConfig`: LoRA on the language model, the joining parts in full.

        The defaults are those of the preset "paper": with CLIP ViT-L/14 and LLaMA-7B they make its
        14 M trainable parameters.

        Args:
            r, lora_alpha, lora_dropout, **others: as PEFT has them.
            names: tuple of str. The linear layers to adapt; the query and value projections by
                default.

        Examples:
            `get_peft_model(model, LoraConfig(**model.lora_arguments()))`, which
            `AutoPeftModelForCausalLM.from_pretrained` loads again.
        """
        return {
            "r": r,
            "lora_alpha": lora_alpha,
            "lora_dropout": lora_dropout,
            "target_modules": self.lora_target_modules(names),
            "modules_to_save": self.modules_to_save or None,
            "task_type": "CAUSAL_LM",
            **others,
        }

    def lora_target_modules(self, names: tuple[str, ...] | None = None) -> str:
        """A regular expression for PEFT's `target_modules` that only hits the language model.

        Args:
            names: tuple of str. The linear layers to adapt; the paper's code takes the query and
                value projections, and so does the default (`c_attn`, where a language model keeps
                them in one layer).

        Raises:
            ValueError: if the language model has no layer of that name.
        """
        present = {name.rpartition(".")[2] for name, _ in self.language_model.named_modules()}
        if names is None:
            names = ("c_attn",) if "c_attn" in present else ("q_proj", "v_proj")
        missing = [name for name in names if name not in present]
        if missing:
            linear = sorted(
                {
                    name.rpartition(".")[2]
                    for name, module in self.language_model.named_modules()
                    if type(module).__name__ in ("Linear", "Conv1D", "Linear4bit", "Linear8bitLt")
                }
            )
            raise ValueError(
                f"The language model has no layer called {', '.join(missing)}; "
                f"choose among {', '.join(linear)}."
            )
        return rf"(?:.*\.)?language_model\..*\.(?:{'|'.join(names)})"

    # -- parts and files ---------------------------------------------------------------------

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """As in transformers, of checkpoints and of adapters on top of one.

        A checkpoint by reference (`config.by_reference`) is put together from the repositories
        that it names. A bitsandbytes configuration that names nothing to skip quantises the
        language model alone. Weights are read from safetensors and from nothing else.

        Raises:
            ValueError: if an option means nothing to a checkpoint by reference, or an adapter's
                weights are no safetensors.
        """
        kwargs.setdefault("use_safetensors", True)
        name = pretrained_model_name_or_path
        if name is None:
            return super().from_pretrained(name, *args, **kwargs)
        found = find_checkpoint(cls.config_class, name, kwargs)
        if found.config is not None:
            loaded: Any = load_by_reference(cls, found, kwargs)
        else:
            if kwargs.get("quantization_config") is not None:
                parts = ("vision_tower", "prefix", "object_projection", "alignment")
                kwargs["quantization_config"] = only_language_model(
                    kwargs["quantization_config"], parts
                )
            loaded = super().from_pretrained(name, *args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model.loaded_from = found.name, dict(found.where)
        return loaded

    @classmethod
    def from_pretrained_parts(
        cls,
        vision: PreTrainedModel | str | PathLike | None,
        text: PreTrainedModel | str | PathLike,
        *,
        image_token_id: int,
        object_token_id: int,
        dtype: torch.dtype | None = None,
        vision_options: dict[str, Any] | None = None,
        text_options: dict[str, Any] | None = None,
        **config: Any,
    ) -> "GeMKRForRetrieval":
        """Start from published checkpoints: a CLIP or SigLIP and a causal language model.

        Args:
            vision: PreTrainedModel, folder or Hub id; None with use_visual_query=False. A
                `CLIPVisionModel` or `SiglipVisionModel`, or a whole CLIP or SigLIP whose vision
                half is taken. It is copied.
            text: PreTrainedModel, folder or Hub id. Any causal language model. An instance is used
                as it is, not copied.
            image_token_id, object_token_id: ids of `<image>` and `<object>` in the tokenizer; the
                embeddings grow to hold them.
            dtype: torch.dtype. Of the whole model; the language model's own by default. Checkpoints
                in half precision are to be trained with `torch.float32` or `torch.bfloat16`.
            vision_options, text_options: for `from_pretrained` of the two: `revision`,
                `attn_implementation`, `device_map`, `quantization_config` (4 or 8 bits, of the
                language model)...
            **config: further fields of `GeMKRConfig`, such as those of a preset.

        Raises:
            ValueError: if a checkpoint is not of the kind that is needed.
        """
        wrong = [name for name in config if not hasattr(GeMKRConfig, name)]
        if wrong:
            raise ValueError(f"GeMKRConfig has no field {wrong[0]!r}.")
        vision_model = None
        if vision is not None and not config.get("use_visual_query", True):
            raise ValueError(
                "A model with use_visual_query=False has no vision tower: vision=None."
            )
        if vision is not None:
            vision_model = load_vision_model(vision, dtype, **(vision_options or {}))
            config["vision_config"] = vision_model.config.to_dict()
        elif config.get("use_visual_query", True):
            raise ValueError("vision=None is for a model with use_visual_query=False.")
        language_model = load_language_model(text, dtype, **(text_options or {}))
        dtype = dtype or language_model.dtype
        configuration = GeMKRConfig(
            text_config=language_model.config.to_dict(),
            image_token_id=image_token_id,
            object_token_id=object_token_id,
            **config,
        )
        bases = {
            "vision": base_model_of(vision, vision_options),
            "text": base_model_of(text, text_options),
        }
        if bases["text"] is not None and (vision is None or bases["vision"] is not None):
            configuration.base_models = bases
        model = cls(configuration, language_model=language_model)
        if model.vision_tower is not None and vision_model is not None:
            model.vision_tower.load_state_dict(vision_model.state_dict())
        vocabulary = model.config.text_config.vocab_size
        needed = max(image_token_id, object_token_id) + 1
        if needed > vocabulary:
            model.resize_token_embeddings(needed, mean_resizing=False)
            set_slot_rows(model, vocabulary)
        align_special_tokens(model, language_model)
        # Part by part: a quantised language model must keep its own types.
        for name, part in model.named_children():
            if name != "language_model":
                part.to(language_model.device, dtype)
        adopt_quantization(model, language_model)
        return model.eval()

    def save_pretrained(self, *args: Any, **kwargs: Any) -> Any:
        if check_quantization(self, self.language_model):
            # transformers cannot turn back how it read a checkpoint in few bits, nor needs to.
            kwargs.setdefault("save_original_format", False)
        self.config.by_reference = False
        self._describe_code()
        return super().save_pretrained(*args, **kwargs)

    def save_reference(self, save_directory: str | PathLike) -> None:
        """Write a checkpoint by reference: configuration and code, a few kilobytes.

        It names the published models that the towers are (`config.base_models`) in the place of
        their weights. What joins them is not in it: it is the base of an adapter.

        Raises:
            ValueError: if the model was not put together from repositories on the Hub.
        """
        if not self.config.base_models:
            raise ValueError(
                "Only a model that from_pretrained_parts made of two Hub ids can be saved by "
                "reference; save_pretrained writes its weights."
            )
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        self._describe_code()
        config = copy.deepcopy(self.config)
        config.by_reference = True
        config.dtype = str(self.dtype).removeprefix("torch.")
        custom_object_save(self, folder, config=config)  # type: ignore[arg-type]
        config.save_pretrained(folder)
        self.generation_config.save_pretrained(folder)

    def _describe_code(self) -> None:
        """Have the configuration say what this code is for, and nothing of this machine."""
        # Its file is copied because it is imported here.
        from .pipeline_gemkr import CUSTOM_PIPELINES

        forget_paths(self.config)
        # `register_for_auto_class` knows one auto class per model; these are the others, of which
        # PEFT's AutoPeftModelForCausalLM asks for the last.
        auto_map = dict(getattr(self.config, "auto_map", None) or {})
        for name in ("AutoModelForImageTextToText", "AutoModelForCausalLM"):
            auto_map[name] = f"modeling_gemkr.{type(self).__name__}"
        self.config.auto_map = auto_map
        self.config.custom_pipelines = copy.deepcopy(CUSTOM_PIPELINES)


class _Same(nn.Module):
    """H_R = X_R: no projection (released code)."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return states


def _parameters(module: nn.Module | None) -> Iterator[nn.Parameter]:
    return iter(()) if module is None else module.parameters()


def positions_of(attention_mask: torch.Tensor | None, length: int) -> torch.Tensor | None:
    """Positions of the last `length` tokens, counted from each row's first real token.

    None without a two-dimensional mask: the language model then counts by itself.
    """
    if attention_mask is None or attention_mask.dim() != 2:
        return None
    positions = attention_mask.long().cumsum(-1) - 1
    return positions.clamp_min(0)[:, -length:]


GeMKRForRetrieval.register_for_auto_class("AutoModel")

__all__ = ["GeMKRForRetrieval", "GeMKROutput"]
