"""transformers' own suite for models, on a tiny GeMKR; what LLaVA skips is skipped here too."""

import unittest
from typing import ClassVar

import pytest
import torch

from gemkr_hf.modeling import GeMKRConfig, GeMKRForRetrieval
from tests.transformers_suite import Missing, suite

try:
    common = suite("test_modeling_common")
    configuration = suite("test_configuration_common")
    generation = suite("generation.test_utils")
except Missing as missing:
    pytest.skip(str(missing), allow_module_level=True)


class GeMKRModelTester:
    """A GeMKR of two layers each, and three queries with an image of two objects."""

    batch_size, seq_length, num_objects = 3, 7, 2
    pad_token_id, image_token_id, object_token_id = 1, 3, 4
    is_training = True
    text_config: ClassVar = {
        "model_type": "llama",
        "vocab_size": 99,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 37,
        "max_position_embeddings": 512,
        "pad_token_id": 1,
    }
    vision_config: ClassVar = {
        "model_type": "clip_vision_model",
        "image_size": 8,
        "patch_size": 4,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 37,
        "projection_dim": 16,
    }
    num_hidden_layers = 2
    hidden_size = 32
    num_attention_heads = 4
    vocab_size = 99

    def __init__(self, parent):
        self.parent = parent
        self.encoder_seq_length = self.seq_length

    def get_config(self):
        return GeMKRConfig(
            vision_config=dict(self.vision_config),
            text_config=dict(self.text_config),
            prefix_length=4,
            max_objects=2,
            image_token_id=self.image_token_id,
            object_token_id=self.object_token_id,
            # Where nothing is said the suite expects core's default, which is greedy.
            decoding={"num_beams": 1, "num_beam_groups": 1},
        )

    def prepare_config_and_inputs_for_common(self):
        input_ids = common.ids_tensor([self.batch_size, self.seq_length], 90) + 5
        if self.num_objects is None:
            words = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}
            return self.get_config(), words
        input_ids[:, 0] = self.image_token_id
        input_ids[:, 1 : 1 + self.num_objects] = self.object_token_id
        size = self.vision_config["image_size"]
        return self.get_config(), {
            "pixel_values": common.floats_tensor([self.batch_size, 3, size, size]),
            "object_pixel_values": common.floats_tensor(
                [self.batch_size, self.num_objects, 3, size, size]
            ),
            "input_ids": input_ids,
            "attention_mask": torch.ones_like(input_ids),
        }


class TestCommonSuite(common.ModelTesterMixin, generation.GenerationTesterMixin, unittest.TestCase):
    all_model_classes = (GeMKRForRetrieval,)
    _is_composite = True

    def setUp(self):
        self.model_tester = GeMKRModelTester(self)
        if "eager_matches_sdpa_inference" in self._testMethodName:
            # It leaves images out and makes up prompts: they must hold no slots.
            self.model_tester.num_objects = None
            self.model_tester.image_token_id, self.model_tester.object_token_id = 97, 98
        self.config_tester = configuration.ConfigTester(
            self, config_class=GeMKRConfig, has_text_modality=False, common_properties=[]
        )

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        # Labels are for the classes that transformers lists by name.
        inputs = super()._prepare_for_class(inputs_dict, model_class, return_labels=return_labels)
        if return_labels:
            inputs["labels"] = torch.zeros_like(inputs["input_ids"])
        return inputs

    def test_config(self):
        self.config_tester.run_common_tests()

    @unittest.skip(
        "A GeMKR holds a whole causal language model of any kind, whose head may scale or cap its "
        "logits: there is no base model with a head on top."
    )
    def test_model_base_model_prefix(self):
        pass
