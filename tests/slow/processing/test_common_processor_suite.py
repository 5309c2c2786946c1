"""transformers' own suite for processors, on a GeMKRProcessor."""

import unittest

import pytest
from transformers import CLIPImageProcessor

from gemkr_hf.processing import GeMKRProcessor, add_image_tokens
from tests.transformers_suite import Missing, suite
from tests.unit.processing.processing_parts import make_tokenizer

try:
    common = suite("test_processing_common")
except Missing as missing:
    pytest.skip(str(missing), allow_module_level=True)


class TestCommonProcessorSuite(common.ProcessorTesterMixin, unittest.TestCase):
    processor_class = GeMKRProcessor
    # The instruction around a question takes some 170 of the tiny tokenizer's tokens.
    images_text_kwargs_max_length = 300
    images_text_kwargs_override_max_length = 290
    images_unstructured_max_length = 280

    @classmethod
    def _setup_image_processor(cls):
        return CLIPImageProcessor()

    @classmethod
    def _setup_tokenizer(cls):
        tokenizer = make_tokenizer()
        add_image_tokens(tokenizer)
        return tokenizer

    def test_subprocessor_defaults_0_text(self):
        """What the suite asks for with the text alone, the instruction around it taken away."""
        processor = self.get_processor()
        question = self.prepare_text_inputs(modalities="text")
        ours = processor(text=question, return_tensors="pt")
        before, after = processor.prompt_template.replace("{image}", "").split("{question}")
        theirs = processor.tokenizer(before + question + after, return_tensors="pt")
        assert ours["input_ids"].tolist() == theirs["input_ids"].tolist()
