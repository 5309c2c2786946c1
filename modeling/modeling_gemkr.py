"""`GeMKRForRetrieval`: images, objects and a question in; the tokens of a knowledge clue out."""

import copy
import dataclasses
import inspect
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPooling, ModelOutput
from transformers.processing_utils import Unpack
from transformers.pytorch_utils import Conv1D
from transformers.utils import TransformersKwargs, cached_file, is_peft_available
from transformers.utils.generic import can_return_tuple
from transformers.utils.peft_utils import find_adapter_config_file

from .configuration_gemkr import GeMKRConfig, library_module
from .generation_gemkr import CACHE, GeMKRGenerationMixin, cache_argument
from .vision_gemkr import ObjectAwarePrefix, build_vision_tower

_VISUAL_PARTS = ("vision_tower", "prefix", "object_projection", "alignment")
_ADAPTER_WEIGHTS = "adapter_model.safetensors"

# Options of `from_pretrained`: those that locate a checkpoint; those that a checkpoint by reference
# passes on to its towers, and to the language model alone; and those that it ignores.
_HUB_ARGUMENTS = (
    "cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder",
)  # fmt: skip
_TOWER_OPTIONS = ("attn_implementation", "cache_dir", "local_files_only", "token")
_TEXT_OPTIONS = ("device_map", "max_memory", "offload_folder", "quantization_config")
_IGNORED_OPTIONS = (
    *_HUB_ARGUMENTS, "_from_auto", "_from_pipeline", "adapter_kwargs", "adapter_name",
    "code_revision", "config", "dtype", "low_cpu_mem_usage", "torch_dtype", "trust_remote_code",
    "use_safetensors",
)  # fmt: skip


@dataclass
class GeMKROutput(ModelOutput):
    """Output of `GeMKRForRetrieval`.

    Attributes:
        loss: float tensor (), with `labels`: Eq. 8 per clue token.
        logits: float tensor (batch_size, sequence_length, vocab_size).
        cache: of the language model (`past_key_values` before transformers 5.24).
        hidden_states, attentions: of the language model, if requested.
        image_hidden_states: float tensor (images, 1 + objects, D), H'_v of Eq. 7; None without
            images.
        image_outputs: of `get_image_features`, with `pixel_values`; with hidden states and
            attentions of the vision tower, if requested.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    if CACHE == "cache":
        cache: Cache | None = None
    else:
        past_key_values: Cache | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None
    image_hidden_states: torch.Tensor | None = None
    image_outputs: BaseModelOutputWithPooling | None = None

    def to_tuple(self) -> tuple:
        """All parts that are not None; `image_outputs` is a tuple as well."""
        parts = (getattr(self, name) for name in self.keys())
        return tuple(part.to_tuple() if isinstance(part, ModelOutput) else part for part in parts)


class GeMKRForRetrieval(PreTrainedModel, GeMKRGenerationMixin):
    """The generative retriever of the paper: CLIP with an object-aware prefix, aligned to an LLM.

    Parts: `vision_tower` (frozen), `prefix` (prefixes and gates), `object_projection`
    (`H_R = Linear(X_R)`), `alignment` (Eq. 7) and `language_model` (frozen, tuned by LoRA); a part
    that the configuration switches off is None. `lora_arguments()` are the arguments of PEFT.
    """

    config: GeMKRConfig
    config_class = GeMKRConfig
    main_input_name = "input_ids"
    input_modalities = ("image", "text")  # type: ignore[assignment]
    supports_gradient_checkpointing = True
    _skip_keys_device_placement = [CACHE]  # noqa: RUF012
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True
    loaded_from: tuple[str, dict[str, Any]] | None = None
    """Folder or Hub id of the checkpoint or adapter, and its Hub arguments (revision...): the
    processor is found there. None for a model that was not loaded."""

    def __init__(self, config: GeMKRConfig, language_model: PreTrainedModel | None = None) -> None:
        """Build with random weights, or around a given `language_model`."""
        super().__init__(config)
        width = config.vision_config.hidden_size
        visual = config.use_visual_query
        objects = visual and config.use_object_features
        self.vision_tower: Any = build_vision_tower(config.vision_config) if visual else None
        if language_model is None:
            language_model = AutoModelForCausalLM.from_config(config.text_config)
        # Share one configuration, so that later changes (vocabulary, attention) reach the model.
        config.text_config = language_model.config
        self.prefix = ObjectAwarePrefix(config) if visual and config.use_prefix else None
        self.object_projection: nn.Module | None = None
        if objects:
            self.object_projection = (
                nn.Linear(width, width) if config.project_objects else nn.Identity()
            )
        self.language_model = language_model
        embedding_size: int = language_model.get_input_embeddings().weight.shape[1]  # type: ignore
        self.alignment = nn.Linear(width, embedding_size) if visual else None
        self.loss_type = "ForCausalLM"
        parameters = inspect.signature(language_model.forward).parameters
        self._takes_position_ids = "position_ids" in parameters
        self._cache_argument = cache_argument(language_model) or CACHE
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        # The towers initialise themselves; `init` skips what was loaded from a checkpoint.
        super()._init_weights(module)
        if isinstance(module, ObjectAwarePrefix):
            init.normal_(module.embeddings, mean=0.0, std=self.config.initializer_range)
            if module.gates is not None:
                init.zeros_(module.gates)

    # -- embeddings of the language model ----------------------------------------------------

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
        """Compute X_R: the objects encoded by the frozen vision tower, without a prefix.

        They do not change in training: compute them once and pass them as `object_features`.

        Args:
            object_pixel_values: float tensor (images, objects, 3, height, width).
            object_mask: bool tensor (images, objects). False where there is no object; all True
                by default.

        Returns:
            float tensor (images, objects, d), zero where there is no object.

        Raises:
            ValueError: if the mask has another shape.
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
        """Encode a batch of images and their objects (Eq. 3 to 7).

        Args:
            pixel_values: float tensor (images, 3, height, width).
            object_pixel_values: float tensor (images, objects, 3, height, width).
            object_mask: bool tensor (images, objects). False where there is no object; all True by
                default.
            object_features: float tensor (images, objects, d). X_R from `get_object_features`,
                instead of `object_pixel_values`.
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
                "processor captions instead."
            )
        objects = object_pixel_values, object_mask, object_features
        names = "object_pixel_values", "object_mask", "object_features"
        for name, given in zip(names, objects, strict=True):
            if given is not None and len(given) != len(pixel_values):
                raise ValueError(
                    f"{name} has {len(given)} images, but pixel_values has {len(pixel_values)}; "
                    "let the processor make them together."
                )
        width = self.config.vision_config.hidden_size
        if object_features is not None and object_features.shape[-1] != width:
            raise ValueError(
                f"object_features have width {object_features.shape[-1]}, but the vision tower has "
                f"{width}."
            )
        states = self._project_objects(*objects)
        prefixes = gates = None
        if self.prefix is not None:
            prefixes, gates = self.prefix(states)
        vision = self.vision_tower(pixel_values, prefixes=prefixes, gates=gates, **kwargs)
        visual = vision.pooler_output[:, None]
        if states is not None:
            aligned = states[:, : self.config.max_object_slots]
            visual = torch.cat([visual, aligned.to(visual.dtype)], dim=1)
        vision.pooler_output = self.alignment(visual.to(self.alignment.weight.dtype))
        return vision

    def _project_objects(
        self,
        object_pixel_values: torch.Tensor | None,
        object_mask: torch.Tensor | None,
        object_features: torch.Tensor | None,
    ) -> torch.Tensor | None:
        """Return H_R = Linear(X_R), (images, objects, d), zero where there is no object."""
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
        past_key_values: Cache | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> GeMKROutput | tuple:
        """Compute the logits of the next token at every position.

        Args:
            input_ids: int64 tensor (batch_size, sequence_length). Prompts; rows with an image have
                one `<image>` token and an `<object>` token per object, other rows neither.
            attention_mask: int tensor (batch_size, sequence_length). 0 at padding. Positions count
                from the first real token, so left padding does not change the result.
            pixel_values: float tensor (images, 3, height, width). One image per `<image>` token, in
                the order of the rows.
            object_pixel_values: see `get_image_features`; so are `object_mask` and
                `object_features`.
            image_features: float tensor (images, 1 + objects, D). H'_v from
                `get_image_features(...).pooler_output`, instead of `pixel_values`.
            labels: int64 tensor (batch_size, sequence_length). Clue tokens; -100 everywhere else.
                With `logits_to_keep=n` those of the last n positions alone, (batch_size, n): the
                head is then computed only where clues are.
            logits_to_keep: int or tensor. Number of last positions, or the positions, to compute
                logits for, as in transformers.
            num_items_in_batch: int or int tensor. Number of clue tokens that the sum of Eq. 8 is
                divided by (HF Trainer passes it under gradient accumulation); those of `labels` by
                default.
            cache: keys and values of earlier tokens; `past_key_values` is its name before
                transformers 5.24.

        Returns:
            GeMKROutput, or a tuple with `return_dict=False`.

        Raises:
            ValueError: if the slots of the prompts do not match the images and their objects, or
                labels come without the logits of all positions.
        """
        if past_key_values is not None:
            if CACHE == "cache":
                warnings.warn("`past_key_values` is deprecated: pass `cache`.", FutureWarning, 2)
            cache = past_key_values if cache is None else cache
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Pass exactly one of input_ids and inputs_embeds.")
        if pixel_values is not None and image_features is not None:
            raise ValueError("Pass pixel_values or image_features, not both.")
        if labels is not None and not (
            isinstance(logits_to_keep, int) and logits_to_keep in (0, labels.shape[1])
        ):
            raise ValueError(
                "labels must cover all positions, or the last n with logits_to_keep=n: leave "
                "logits_to_keep out, or cut the labels."
            )
        image_outputs = None
        if pixel_values is not None:
            requested = ("output_hidden_states", "output_attentions")
            image_outputs = self.get_image_features(
                pixel_values,
                object_pixel_values,
                object_mask,
                object_features,
                return_dict=True,
                **{name: kwargs[name] for name in requested if name in kwargs},  # type: ignore
            )
            image_features = image_outputs.pooler_output
        inputs_embeds = self._embed(input_ids, inputs_embeds, image_features, object_mask, cache)
        if self._takes_position_ids:
            if position_ids is None and attention_mask is not None and attention_mask.dim() == 2:
                # Counted from each row's first real token; without a mask the model counts itself.
                positions = attention_mask.long().cumsum(-1) - 1
                position_ids = positions.clamp_min(0)[:, -inputs_embeds.shape[1] :]
            if position_ids is not None:
                kwargs["position_ids"] = position_ids  # type: ignore[typeddict-unknown-key]

        outputs = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            logits_to_keep=logits_to_keep,
            return_dict=True,
            **{self._cache_argument: cache},
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
            **{CACHE: getattr(outputs, CACHE)},
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
        """Return the language model's input (batch_size, sequence_length, D), slots filled."""
        embeddings = self.get_input_embeddings()
        # Generated tokens have no slots, and compiled code cannot branch on values.
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

        PEFT does not need this: it freezes all but LoRA and `modules_to_save` itself.
        """
        self.requires_grad_(False)
        for name in self.modules_to_save:
            getattr(self, name).requires_grad_(True)

    @property
    def modules_to_save(self) -> list[str]:
        """Parts that are fully trained, for PEFT's `modules_to_save`."""
        parts = {name: getattr(self, name) for name in _VISUAL_PARTS[1:]}
        return [name for name, part in parts.items() if part is not None and [*part.parameters()]]

    def lora_arguments(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the arguments of `peft.LoraConfig`; see `lora.lora_arguments` in the library."""
        return library_module("lora").lora_arguments(self, *args, **kwargs)

    def lora_target_modules(self, names: tuple[str, ...] | None = None) -> str:
        """Return a regular expression for PEFT's `target_modules`; see `lora.target_modules`."""
        return library_module("lora").target_modules(self, names)

    # -- files -------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """Load a checkpoint, or an adapter with its base, as in transformers.

        The towers of a checkpoint by reference (`config.by_reference`) are loaded from the
        repositories that it names. A bitsandbytes configuration without modules to skip quantizes
        the language model alone. Weights are read from safetensors only.

        Raises:
            ValueError: if an option is not supported for a checkpoint by reference, or an adapter's
                weights are not safetensors.
        """
        kwargs.setdefault("use_safetensors", True)
        name = pretrained_model_name_or_path
        if name is None:
            return super().from_pretrained(name, *args, **kwargs)
        checkpoint = _find_checkpoint(cls.config_class, name, kwargs)
        if checkpoint.reference is not None:
            loaded: Any = _load_by_reference(cls, checkpoint, kwargs)
        else:
            if kwargs.get("quantization_config") is not None:
                kwargs["quantization_config"] = _skip_visual_parts(kwargs["quantization_config"])
            loaded = super().from_pretrained(name, *args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model.loaded_from = checkpoint.name, dict(checkpoint.location)
        return loaded

    @classmethod
    def from_pretrained_parts(cls, vision: Any, text: Any, **kwargs: Any) -> "GeMKRForRetrieval":
        """Create a model from a CLIP or SigLIP and a causal language model.

        See `new_model.new_model` in the library for the arguments.
        """
        return library_module("new_model").new_model(cls, vision, text, **kwargs)

    def save_pretrained(self, *args: Any, **kwargs: Any) -> Any:
        """Write weights, configuration and this code, as in transformers."""
        quantizer = getattr(self, "hf_quantizer", None)
        if quantizer is None and getattr(self.language_model, "hf_quantizer", None) is not None:
            raise ValueError(
                "This GeMKR cannot be saved: its language model was quantized before it became a "
                "part, by another method than bitsandbytes; save one with the unquantized part and "
                "load that with from_pretrained(..., quantization_config=...)."
            )
        if _is_bitsandbytes(quantizer):
            # transformers cannot revert how it read a checkpoint in few bits, nor needs to.
            kwargs.setdefault("save_original_format", False)
        self.config.by_reference = False
        self.describe_code()
        return super().save_pretrained(*args, **kwargs)

    def save_reference(self, save_directory: str | PathLike) -> None:
        """Write a checkpoint by reference, without weights; see `new_model.save_reference`."""
        library_module("new_model").save_reference(self, save_directory)

    def describe_code(self) -> None:
        """Write the auto classes and the pipeline of this code, and no local path, to `config`."""
        # Imported here, so that its file is copied.
        from .pipeline_gemkr import CUSTOM_PIPELINES

        for part in (self.config.vision_config, self.config.text_config):
            name = getattr(part, "_name_or_path", "")
            if name and (Path(name).is_absolute() or Path(name).exists()):
                part._name_or_path = ""
        # `register_for_auto_class` knows one auto class per model; these are the others, of which
        # PEFT's AutoPeftModelForCausalLM uses the last.
        auto_map = dict(getattr(self.config, "auto_map", None) or {})
        for name in ("AutoModelForImageTextToText", "AutoModelForCausalLM"):
            auto_map[name] = f"modeling_gemkr.{type(self).__name__}"
        self.config.auto_map = auto_map
        self.config.custom_pipelines = copy.deepcopy(CUSTOM_PIPELINES)


# -- slots of a prompt -----------------------------------------------------------------------


def find_slots(
    input_ids: torch.Tensor | None,
    inputs_embeds: torch.Tensor | None,
    embeddings: nn.Module,
    config: GeMKRConfig,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return where `<image>` and `<object>` tokens are: bool (batch_size, sequence_length) each.

    Without `input_ids` a slot is where `inputs_embeds` equals that token's embedding.
    """
    tokens = (config.image_token_id, config.object_token_id)
    if input_ids is not None:
        return input_ids == tokens[0], input_ids == tokens[1]
    assert inputs_embeds is not None
    rows = embeddings(torch.tensor(tokens, device=inputs_embeds.device))
    return (inputs_embeds == rows[0]).all(-1), (inputs_embeds == rows[1]).all(-1)


def fill_slots(
    inputs_embeds: torch.Tensor,
    slots: tuple[torch.Tensor, torch.Tensor],
    image_features: torch.Tensor,
    object_mask: torch.Tensor | None,
) -> torch.Tensor:
    """Replace the embeddings of the slots by the rows of H'_v (Eq. 7).

    Args:
        inputs_embeds: float tensor (batch_size, sequence_length, D).
        slots: two bool tensors (batch_size, sequence_length), see `find_slots`.
        image_features: float tensor (images, 1 + objects, D). H'_v; row 0 goes to `<image>`, the
            others to the `<object>` tokens in their order.
        object_mask: bool tensor (images, at least objects). Which of the objects exist; all by
            default.

    Returns:
        float tensor (batch_size, sequence_length, D).
    """
    image_slots, object_slots = slots
    features = image_features.to(inputs_embeds.device, inputs_embeds.dtype)
    if object_mask is not None and features.shape[1] > 1:
        # Existing objects first.
        missing = ~object_mask.to(features.device)[:, : features.shape[1] - 1].bool()
        order = torch.argsort(missing, dim=1, stable=True)[..., None]
        objects = features[:, 1:].gather(1, order.expand(-1, -1, features.shape[2]))
        features = torch.cat([features[:, :1], objects], dim=1)
    # By indexing alone: no shape depends on values, so this compiles and does not synchronize.
    image = (image_slots.any(1).cumsum(0) - 1).clamp_min(0)
    row = torch.where(object_slots, object_slots.cumsum(1), 0).clamp_max(features.shape[1] - 1)
    values = features[image[:, None], row]
    return torch.where((image_slots | object_slots)[..., None], values, inputs_embeds)


def check_slots(
    image_slots: torch.Tensor,
    object_slots: torch.Tensor,
    image_features: torch.Tensor | None,
    object_mask: torch.Tensor | None,
) -> None:
    """Raise ValueError unless slots and features match one to one.

    Args:
        image_slots: bool tensor (batch_size, sequence_length).
        object_slots: bool tensor (batch_size, sequence_length).
        image_features: float tensor (images, 1 + objects, D).
        object_mask: bool tensor (images, at least objects).
    """
    # One transfer from the device for all counts.
    slots_per_row, objects = torch.stack([image_slots.sum(1), object_slots.sum(1)]).tolist()
    images = 0 if image_features is None else len(image_features)
    if max(slots_per_row, default=0) > 1:
        raise ValueError(
            f"A prompt has {max(slots_per_row)} <image> tokens, but a query has at most one image."
        )
    if sum(slots_per_row) != images:
        raise ValueError(
            f"The prompts have {sum(slots_per_row)} <image> tokens for {images} images; "
            "let the processor make prompts and pixel_values together."
        )
    counts: list[int] = []
    if image_features is not None:
        width = image_features.shape[1] - 1
        if object_mask is None or width == 0:
            counts = [width] * images
        elif len(object_mask) != images or object_mask.shape[1] < width:
            raise ValueError(
                f"object_mask has shape {tuple(object_mask.shape)}, but there are {images} "
                f"images with {width} objects each."
            )
        else:
            counts = object_mask[:, :width].bool().sum(1).tolist()
    expected = iter(counts)
    for row, (has_image, slots) in enumerate(zip(slots_per_row, objects, strict=True)):
        number = next(expected) if has_image else 0
        if slots != number:
            raise ValueError(
                f"Prompt {row} has {slots} <object> tokens for {number} objects of the image; let "
                "the processor make both, with the max_objects and max_object_slots of the model's "
                "configuration (max_objects=0 with use_object_features=False)."
            )


# -- joined towers ---------------------------------------------------------------------------


def join_towers(
    model_class: type[GeMKRForRetrieval],
    vision_model: PreTrainedModel | None,
    language_model: PreTrainedModel,
    dtype: torch.dtype | None,
    **fields: Any,
) -> GeMKRForRetrieval:
    """Create a model from a vision tower, which is copied, and a language model, which is not.

    Args:
        model_class: class of the new model.
        vision_model: a `CLIPVisionModel` or `SiglipVisionModel`; None with use_visual_query=False.
        language_model: a causal language model.
        dtype: of the visual parts; the language model's by default.
        **fields: of the configuration.
    """
    if vision_model is not None:
        fields["vision_config"] = vision_model.config.to_dict()
    config = GeMKRConfig(text_config=language_model.config.to_dict(), **fields)
    model = model_class(config, language_model=language_model)
    if model.vision_tower is not None and vision_model is not None:
        model.vision_tower.load_state_dict(vision_model.state_dict())
    vocabulary = config.text_config.vocab_size
    tokens = max(config.image_token_id, config.object_token_id) + 1
    if tokens > vocabulary:
        model.resize_token_embeddings(tokens, mean_resizing=False)
        _initialize_slots(model, vocabulary)
    # Clues end and are padded as by the language model, whose other generation settings (sampling,
    # temperature) are for chat, not for retrieval.
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        value = getattr(language_model.generation_config, name, None)
        if value is None:
            value = getattr(language_model.config, name, None)
        setattr(model.generation_config, name, value)
    # Part by part: a quantized language model must keep its own types.
    for name, part in model.named_children():
        if name != "language_model":
            part.to(language_model.device, dtype or language_model.dtype)
    _adopt_quantization(model)
    return model.eval()


@torch.no_grad()
def _initialize_slots(model: GeMKRForRetrieval, vocabulary: int) -> None:
    """Give the new tokens, which images replace, constant embeddings and rows of the head.

    The same base models then have the same scores everywhere, also in a checkpoint by reference.
    The embeddings of the slots differ, and from the zeros of padding: `find_slots` compares them.
    """
    head: Any = model.get_output_embeddings()
    for parameter in (head.weight, getattr(head, "bias", None)):
        if parameter is not None and not parameter.is_meta:
            parameter[vocabulary:] = 0
    weight: Any = model.get_input_embeddings().weight
    if not weight.is_meta:
        number = torch.arange(1, len(weight) - vocabulary + 1, device=weight.device)
        weight[vocabulary:] = (number / 1024).to(weight.dtype)[:, None]


def _skip_visual_parts(quantization_config: Any) -> Any:
    """Restrict bitsandbytes to the language model, unless its configuration skips something."""
    skipped = [*_VISUAL_PARTS, "lm_head"]
    if isinstance(quantization_config, dict):
        if quantization_config.get("quant_method", "bitsandbytes") != "bitsandbytes":
            return quantization_config
        return {"llm_int8_skip_modules": skipped, **quantization_config}
    if getattr(quantization_config, "llm_int8_skip_modules", False) is not None:
        return quantization_config
    changed = copy.deepcopy(quantization_config)
    changed.llm_int8_skip_modules = skipped
    return changed


def _adopt_quantization(model: GeMKRForRetrieval) -> None:
    """Record in the model that bitsandbytes quantized its language model, and only that.

    Otherwise a saved checkpoint would declare the vision tower quantized too, and not load.
    """
    language_model = model.language_model
    quantizer: Any = getattr(language_model, "hf_quantizer", None)
    if not _is_bitsandbytes(quantizer):
        return
    quantizer = copy.copy(quantizer)
    quantizer.quantization_config = copy.deepcopy(quantizer.quantization_config)
    # Exactly the layers that were not quantized, whatever rule of the language model chose them.
    unquantized = [name for name, part in model.named_children() if part is not language_model]
    unquantized += [
        f"language_model.{name}"
        for name, module in language_model.named_modules()
        if type(module) in (nn.Linear, Conv1D)
    ]
    quantizer.quantization_config.llm_int8_skip_modules = unquantized
    model.hf_quantizer = quantizer  # type: ignore[assignment]
    quantizer.postprocess_model(model)


def _is_bitsandbytes(quantizer: Any) -> bool:
    return hasattr(getattr(quantizer, "quantization_config", None), "llm_int8_skip_modules")


# -- checkpoints by reference ----------------------------------------------------------------


@dataclass(frozen=True)
class _Checkpoint:
    """What the name given to `from_pretrained` refers to."""

    name: str  # folder or Hub id, the adapter's if there is one
    location: Mapping[str, Any]  # its Hub arguments (revision, cache_dir...)
    is_adapter: bool
    reference: GeMKRConfig | None  # configuration of a checkpoint (or base) by reference


def _find_checkpoint(
    config_class: type[PreTrainedConfig], name: str | PathLike, options: Mapping[str, Any]
) -> _Checkpoint:
    """Look up a checkpoint, or an adapter and its base, before it is loaded.

    Raises:
        ValueError: if an adapter's weights are not safetensors.
    """
    location = {key: options[key] for key in _HUB_ARGUMENTS if options.get(key) is not None}
    base, base_location = str(name), location
    named, named_location = base, dict(options.get("adapter_kwargs") or {})
    adapter = named_location.pop("_adapter_model_path", None)  # an auto class has found it already
    if adapter is not None:
        named = str(adapter)
    else:
        named_location = location
        path = find_adapter_config_file(named, **location)
        if path is not None and not is_peft_available():
            raise ImportError(f"The adapter '{named}' needs PEFT: pip install 'gemkr-hf[train]'")
        if path is not None:
            adapter = named
            if not Path(named, "config.json").is_file():
                base = json.loads(Path(path).read_text(encoding="utf-8"))["base_model_name_or_path"]
                base_location = {k: v for k, v in location.items() if k != "revision"}
    if adapter is not None and not cached_file(
        named, _ADAPTER_WEIGHTS, **named_location, _raise_exceptions_for_missing_entries=False
    ):
        raise ValueError(
            f"The adapter '{named}' has no {_ADAPTER_WEIGHTS}; weights in other formats can "
            "contain code and are not loaded."
        )
    reference = options.get("config")
    if not isinstance(reference, PreTrainedConfig):
        content, _ = config_class.get_config_dict(base, **base_location)
        reference = config_class.from_dict(content) if content.get("by_reference") else None
    reference = reference if getattr(reference, "by_reference", False) else None
    return _Checkpoint(named, named_location, adapter is not None, reference)  # type: ignore


def _load_by_reference(
    model_class: type[GeMKRForRetrieval], checkpoint: _Checkpoint, options: Mapping[str, Any]
) -> PreTrainedModel:
    """Load and join the towers that a checkpoint names, and the adapter on top.

    Raises:
        ValueError: if an option is not supported here.
    """
    config = checkpoint.reference
    assert config is not None
    supported = (*_TOWER_OPTIONS, *_TEXT_OPTIONS, *_IGNORED_OPTIONS)
    for key in options:
        if key not in supported:
            raise ValueError(
                f"'{key}' is not supported for a checkpoint with weights in other repositories."
            )
    given = {key: value for key, value in options.items() if value is not None}
    for_towers = {key: given[key] for key in _TOWER_OPTIONS if key in given}
    for_text = {key: given[key] for key in _TEXT_OPTIONS if key in given}
    dtype = given.get("dtype", given.get("torch_dtype", "auto"))
    dtype = config.dtype if dtype == "auto" else dtype
    dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    vision, text = config.base_models.get("vision"), config.base_models["text"]
    vision_model = None
    if vision:
        options = {"dtype": dtype or torch.float32, "revision": vision.get("revision")}
        vision_model = AutoModel.from_pretrained(vision["name"], **options, **for_towers)
        # A full CLIP or SigLIP has a text tower as well.
        vision_model = getattr(vision_model, "vision_model", vision_model)
    options = {"dtype": dtype or "auto", "revision": text.get("revision"), **for_towers}
    language_model = AutoModelForCausalLM.from_pretrained(text["name"], **options, **for_text)
    own = {field.name for field in dataclasses.fields(GeMKRConfig)}
    own -= {field.name for field in dataclasses.fields(PreTrainedConfig)}
    own -= {"vision_config", "text_config", "by_reference", "tie_word_embeddings"}
    fields = {name: getattr(config, name) for name in sorted(own)}
    model = join_towers(model_class, vision_model, language_model, dtype, **fields)
    if checkpoint.is_adapter:
        model.load_adapter(
            checkpoint.name,
            adapter_name=given.get("adapter_name", "default"),
            adapter_kwargs=dict(checkpoint.location),
        )
    return model.eval()


GeMKRForRetrieval.register_for_auto_class("AutoModel")

__all__ = ["GeMKRForRetrieval", "GeMKROutput"]
