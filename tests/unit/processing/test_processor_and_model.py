"""Batches of the processor as inputs of the model."""

import torch
from transformers import CLIPVisionConfig, LlamaConfig

from gemkr_hf.modeling import GeMKRConfig, GeMKRForRetrieval
from gemkr_hf.processing import GeMKRProcessor, Object
from tests.unit.processing.processing_parts import FixedDetector, make_image


def make_model(processor: GeMKRProcessor, **options) -> GeMKRForRetrieval:
    torch.manual_seed(0)
    width = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    vision = CLIPVisionConfig(**width, num_attention_heads=2, image_size=24, patch_size=12)
    text = LlamaConfig(
        **width,
        num_attention_heads=2,
        vocab_size=len(processor.tokenizer),
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    config = GeMKRConfig(
        vision_config=vision.to_dict(),
        text_config=text.to_dict(),
        image_token_id=processor.image_token_id,
        object_token_id=processor.object_token_id,
        **options,
    )
    return GeMKRForRetrieval(config).eval()


def test_forward_of_every_batch(image_processor, tokenizer):
    detector = FixedDetector([Object((0, 0, 20, 20), 0.9), Object((20, 10, 50, 40), 0.4)])
    processor = GeMKRProcessor(image_processor, tokenizer, detector)
    model = make_model(processor)
    images = [make_image(), None, make_image(seed=1)]
    questions, clues = ["a", "b b b", "c"], ["sport", "a clue", "a"]
    with torch.no_grad():
        for objects in (None, [None, None, []], [[], None, []]):
            batch = processor(images=images, text=questions, objects=objects, clues=clues)
            output = model(**batch)
            assert torch.isfinite(output.loss)
            for row, image in enumerate(images):  # batched equals single
                given = None if objects is None else [objects[row]]
                one = processor(images=[image], text=[questions[row]], objects=given)
                length = one["input_ids"].shape[1]
                last = model(**one).logits[0, -1]
                place = int((batch["labels"][row] == -100).sum()) - 1
                assert length <= place + 1
                torch.testing.assert_close(output.logits[row, place], last, atol=1e-5, rtol=1e-4)
        assert torch.isfinite(model(**processor(text=["a"])).logits).all()


def test_without_objects(image_processor, tokenizer):
    processor = GeMKRProcessor(image_processor, tokenizer, max_objects=0)
    model = make_model(processor, use_object_features=False)
    with torch.no_grad():
        output = model(**processor(images=make_image(), text="a"))
    assert torch.isfinite(output.logits).all()
