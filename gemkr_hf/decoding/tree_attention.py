"""Engines that compute the nodes of a clue tree: tree attention, or a row per clue."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from transformers import StaticCache
from transformers.cache_utils import Cache, DynamicLayer

from gemkr_hf.decoding.clue_tree import Node
from gemkr_hf.decoding.device import to_device
from gemkr_hf.modeling.generation_gemkr import CACHE, cache_argument


class Engine(Protocol):
    """Runs the model: computes the prompts of a batch once, then the nodes after them."""

    def prefill(self, inputs: Mapping[str, Any]) -> torch.Tensor:
        """Start a batch; returns the logits after its prompts, (batch, vocab_size)."""
        ...

    def compute(self, nodes: Sequence[Node]) -> torch.Tensor:
        """The logits after each node, (nodes, vocab_size).

        A node's parent was computed before, or is in `nodes` before it.
        """
        ...

    def keep(self, queries: Sequence[int]) -> None:
        """Announce that only nodes of these queries will be computed."""
        ...


class _Prompts:
    """The prompts of a batch: masks, lengths and positions."""

    def __init__(self, model: Any, inputs: Mapping[str, Any]) -> None:
        ids, mask = inputs["input_ids"], inputs.get("attention_mask")
        self.mask = (torch.ones_like(ids) if mask is None else mask).bool()
        self.lengths: list[int] = self.mask.sum(1).tolist()
        # Positions count from each prompt's first token.
        self.positions = (self.mask.long().cumsum(1) - 1).clamp_min(0)
        self.takes_positions = "position_ids" in _parameters(model)

    def arguments(self, model: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
        arguments = {name: value for name, value in inputs.items() if value is not None}
        if "token_type_ids" not in _parameters(model):  # some tokenizers return them for any model
            arguments.pop("token_type_ids", None)
        if self.takes_positions:
            arguments.setdefault("position_ids", self.positions)
        if "logits_to_keep" in _parameters(model):
            arguments.setdefault("logits_to_keep", 1)
        arguments.update(use_cache=True, return_dict=True)
        return arguments


class TreeAttention:
    """One row of keys and values per query: its prompt, then the tokens of all clues, each of which
    attends to the prompt and to its own clue only.

    Args:
        model: a model that `supports_tree_attention`.
        static_cache: keep keys and values in tensors of fixed size, and run passes of few different
            sizes, as a compiled model or a CUDA graph needs.
        compile: compile the pass with `torch.compile`; a dict holds its arguments. Needs
            `static_cache`.
    """

    def __init__(
        self, model: Any, static_cache: bool = False, compile: bool | Mapping[str, Any] = False
    ) -> None:
        if compile and not static_cache:
            raise ValueError("compile=True needs static_cache=True, or each pass has another size")
        self.model = model
        self.static_cache = static_cache
        language_model = _language_model(model)
        self._takes_bool = language_model.config._attn_implementation == "sdpa"
        self._cache_argument = cache_argument(language_model) or CACHE
        self._dtype = language_model.get_input_embeddings().weight.dtype
        self._step = model
        if compile:
            options = dict(compile) if isinstance(compile, Mapping) else {}
            self._step = torch.compile(model, **{"dynamic": False, **options})

    def prefill(self, inputs: Mapping[str, Any]) -> torch.Tensor:
        self._prompts = _Prompts(self.model, inputs)
        arguments = self._prompts.arguments(self.model, inputs)
        self._columns = 0
        self._prompt_mask = self._prompts.mask
        self._rows = {query: query for query in range(len(self._prompts.lengths))}
        number = _text_config(self.model).num_hidden_layers
        cache: Cache = Cache(layers=[_GrowingLayer() for _ in range(number)])
        if self.static_cache:
            prompt = self._prompts.mask.shape[1]
            # Few different lengths, so that a compiled pass can be used for many prompts.
            length = -(-(prompt + _ROOM) // _ROOM) * _ROOM
            self._room = length - prompt
            cache = StaticCache(_text_config(self.model), length)
        outputs = self.model(**{**arguments, self._cache_argument: cache})
        self._cache = getattr(outputs, CACHE)
        return outputs.logits[:, -1]

    def compute(self, nodes: Sequence[Node]) -> torch.Tensor:
        of_rows: list[list[Node]] = [[] for _ in self._rows]
        for node in nodes:
            of_rows[self._rows[node.query]].append(node)
        batch, needed = len(of_rows), max(map(len, of_rows))
        width = _rounded(needed) if self.static_cache else needed
        total = self._columns + width
        if self.static_cache and total > self._room:
            self._grow(total)
        ids = np.zeros((batch, width), dtype=np.int64)
        positions = np.zeros((batch, width), dtype=np.int64)
        room = self._room if self.static_cache else total
        visible = np.zeros((batch, width, room), dtype=np.bool_)
        indices = np.zeros((2, len(nodes)), dtype=np.int64)  # row and column of each node
        number_of = {id(node): number for number, node in enumerate(nodes)}
        for row, of_row in enumerate(of_rows):
            for column, node in enumerate(of_row):
                node.columns = (*node.parent.columns, self._columns + column)
                node.computed = True
                ids[row, column] = node.token
                positions[row, column] = self._prompts.lengths[node.query] + node.depth - 1
                visible[row, column, list(node.columns)] = True
                indices[:, number_of[id(node)]] = row, column
            # Padding attends to itself: a softmax over nothing would be NaN.
            for column in range(len(of_row), width):
                visible[row, column, self._columns + column] = True
        device = self._prompts.mask.device
        prompt = self._prompt_mask[:, None, :].expand(-1, width, -1)
        mask = torch.cat([prompt, to_device(visible, device)], dim=2)
        if not self._takes_bool:
            bias = torch.zeros(mask.shape, dtype=self._dtype, device=device)
            mask = bias.masked_fill_(~mask, torch.finfo(self._dtype).min)
        inputs = to_device(np.stack([ids, positions]), device)
        outputs = self._step(
            input_ids=inputs[0],
            attention_mask=mask[:, None],
            position_ids=inputs[1],
            use_cache=True,
            return_dict=True,
            **{self._cache_argument: self._cache},
        )
        self._columns = total
        row, column = to_device(indices, device)
        return outputs.logits[row, column]

    def keep(self, queries: Sequence[int]) -> None:
        """Drop the rows of finished queries when they are at least an eighth of all."""
        if self.static_cache or not 0 < 8 * len(queries) <= 7 * len(self._rows):
            return
        kept = sorted(queries, key=self._rows.__getitem__)
        rows = torch.tensor([self._rows[query] for query in kept])
        self._cache.batch_select_indices(rows)
        self._prompt_mask = self._prompt_mask[rows]
        self._rows = {query: row for row, query in enumerate(kept)}

    def _grow(self, needed: int) -> None:
        """Double the room of the static cache, or make as much as is needed."""
        prompt = self._prompts.mask.shape[1]
        self._room = max(2 * self._room, _rounded(needed))
        larger = StaticCache(_text_config(self.model), prompt + self._room)
        for old, new in zip(self._cache.layers, larger.layers, strict=True):
            filled = prompt + self._columns
            new.update(old.keys[:, :, :filled], old.values[:, :, :filled])  # type: ignore[union-attr]
        self._cache = larger


class _GrowingLayer(DynamicLayer):
    """Keys and values in tensors with room to grow, so that a pass copies only new ones."""

    def __init__(self) -> None:
        super().__init__()
        self._buffers: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        filled = self.get_seq_length()
        length = filled + key_states.shape[-2]
        if self._buffers is None or length > self._buffers[0].shape[-2]:
            larger = (
                _with_room(key_states, filled, length),
                _with_room(value_states, filled, length),
            )
            if self.keys is not None and self.values is not None and filled > 0:
                larger[0][:, :, :filled] = self.keys
                larger[1][:, :, :filled] = self.values
            self._buffers = larger
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, filled:length] = new
        self.keys, self.values = (buffer[:, :, :length] for buffer in self._buffers)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        super().batch_select_indices(indices)
        self._buffers = None


def _with_room(like: torch.Tensor, filled: int, length: int) -> torch.Tensor:
    """An empty tensor for `length` tokens, with room for more."""
    rows, heads, _, width = like.shape
    return like.new_empty(rows, heads, 2 * length if filled else length + _ROOM, width)


class RowByRow:
    """For any causal language model: each clue in its own row, on a copy of its prompt's cache.

    Each pass computes every open clue from its first token, even where clues share tokens. For a
    model with recurrent layers, or without a cache that can be copied, it computes the prompt again
    as well.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._cache_argument = cache_argument(_language_model(model)) or CACHE

    def prefill(self, inputs: Mapping[str, Any]) -> torch.Tensor:
        self._prompts = _Prompts(self.model, inputs)
        self._inputs = inputs
        outputs = self.model(**self._prompts.arguments(self.model, inputs))
        # Some recurrent layers ignore their cache if a pass has several tokens.
        stateful = getattr(_language_model(self.model), "_is_stateful", False)
        self._cache = None if stateful else getattr(outputs, CACHE, None)
        return outputs.logits[:, -1]

    def compute(self, nodes: Sequence[Node]) -> torch.Tensor:
        inner = {id(node.parent) for node in nodes}
        leaves = [node for node in nodes if id(node) not in inner]
        paths = [leaf.piece() for leaf in leaves]
        width = max(map(len, paths))
        ids = np.zeros((len(paths), width), dtype=np.int64)
        real = np.zeros((len(paths), width), dtype=np.bool_)
        indices = {}
        for row, path in enumerate(paths):
            ids[row, : len(path)] = [node.token for node in path]
            real[row, : len(path)] = True
            indices.update({id(node): (row, column) for column, node in enumerate(path)})
        for node in nodes:
            node.computed = True
        device = self._prompts.mask.device
        queries = to_device(np.array([leaf.query for leaf in leaves]), device)
        arguments = self._after_prompts(queries, to_device(ids, device), to_device(real, device))
        logits = self.model(**arguments, return_dict=True).logits[:, -width:]
        row, column = to_device(np.array([indices[id(node)] for node in nodes]).T, device)
        return logits[row, column]

    def _after_prompts(
        self, queries: torch.Tensor, ids: torch.Tensor, real: torch.Tensor
    ) -> dict[str, Any]:
        """The model's arguments for tokens after the prompts of these queries."""
        steps = torch.arange(ids.shape[1], device=ids.device)
        positions = self._prompts.mask.sum(1)[queries][:, None] + steps
        mask = torch.cat([self._prompts.mask[queries], real], dim=1).long()
        arguments: dict[str, Any] = {"attention_mask": mask}
        if self._cache is not None:
            cache = _copied(self._cache)
            cache.reorder_cache(queries)
            arguments.update({"input_ids": ids, "use_cache": True, self._cache_argument: cache})
        else:  # a model with another kind of state computes its prompts again
            given = {name: value[queries] for name, value in self._inputs.items()}
            arguments = {**given, **arguments, "use_cache": False}
            arguments["input_ids"] = torch.cat([given["input_ids"], ids], dim=1)
            positions = torch.cat([self._prompts.positions[queries], positions], dim=1)
        if self._prompts.takes_positions:
            arguments["position_ids"] = positions
        return arguments

    def keep(self, queries: Sequence[int]) -> None:
        """Nothing to drop: each pass makes its own rows."""


def _copied(cache: Any) -> Any:
    """A copy of a cache, whose rows can be selected without changing the original."""
    layers = getattr(cache, "layers", [])
    if not layers or any(type(layer) is not DynamicLayer for layer in layers):
        return copy.deepcopy(cache)
    other = copy.copy(cache)  # selecting rows makes new tensors: copies can share these
    other.layers = [copy.copy(layer) for layer in layers]
    return other


_ROOM = 256
"""Tokens by which a cache is allocated in advance."""
_SMALLEST_PASS = 8
"""Minimum width of a pass in tokens, with a static cache."""


def _rounded(number: int) -> int:
    """A power of two, so that few sizes occur."""
    return max(_SMALLEST_PASS, 1 << (number - 1).bit_length())


def supports_tree_attention(model: Any) -> bool:
    """Whether a model accepts a 4D attention mask and position ids.

    That needs full attention in all layers by the implementations "sdpa" or "eager" of
    transformers' attention interface, and `position_ids`; flash attention, sliding windows, ALiBi
    and recurrent layers are not supported.
    """
    language_model = _language_model(model)
    config = language_model.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None)
    if not getattr(config, "use_sliding_window", True):
        window = None
    return (
        getattr(language_model, "_supports_attention_backend", False)
        and getattr(config, "_attn_implementation", None) in ("sdpa", "eager")
        and kinds == {"full_attention"}
        and window is None
        and getattr(config, "attention_layers", None) is None
        and not getattr(config, "alibi", False)
        and "position_ids" in _parameters(language_model)
        and cache_argument(language_model) is not None
    )


def make_engine(
    model: Any, static_cache: bool = False, compile: bool | Mapping[str, Any] = False
) -> Engine:
    """The fastest engine that a model supports.

    Raises:
        ValueError: a static cache or compilation for a model without support for tree attention.
    """
    if supports_tree_attention(model):
        return TreeAttention(model, static_cache, compile)
    if static_cache or compile:
        raise ValueError(
            f"{type(model).__name__} does not support a static cache here: that needs full "
            'attention in all layers with attn_implementation="sdpa" or "eager"'
        )
    return RowByRow(model)


def _language_model(model: Any) -> Any:
    inner = getattr(model, "get_base_model", lambda: model)()
    return getattr(inner, "language_model", inner)


def _text_config(model: Any) -> Any:
    return _language_model(model).config.get_text_config(decoder=True)


def _parameters(model: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(_language_model(model).forward).parameters


__all__ = ["Engine", "RowByRow", "TreeAttention", "make_engine", "supports_tree_attention"]
