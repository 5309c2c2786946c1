"""How well the language model solves the task as text, before any image is involved."""

import numpy as np
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from gemkr_hf.knowledge_base import KnowledgeBase
from gemkr_hf.modeling import diverse_beam_search
from gemkr_hf.toy.stand_ins.language_model_stand_in import SequenceWriter
from gemkr_hf.toy.stand_ins.text_task import draw_text_example
from gemkr_hf.toy.symbols.symbol_documents import load_documents


@torch.no_grad()
def text_accuracy(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    questions: int = 200,
    seed: int = 20_000,
) -> dict[str, float]:
    """Answer held-out questions about scenes in words by constrained beam search.

    Returns:
        P@1 of all questions, and by number of objects.
    """
    knowledge_base = KnowledgeBase.from_documents(load_documents(), tokenizer)
    constraint = knowledge_base.constraint()
    writer = SequenceWriter(tokenizer)
    rng = np.random.default_rng(seed)
    ends = {tokenizer.eos_token_id, tokenizer.pad_token_id}
    correct: dict[int, list[bool]] = {number: [] for number in range(1, 5)}
    for row in range(questions):
        example = draw_text_example(rng, row % 4 + 1)
        prompt = torch.tensor([writer.prompt(example, slots=False).tokens])
        sequences = diverse_beam_search(
            model,
            {"input_ids": prompt, "attention_mask": torch.ones_like(prompt)},
            constraint,
            num_beams=8,
            num_beam_groups=2,
            diversity_penalty=0.5,
            max_new_tokens=16,
        )
        clue = [token for token in sequences[0, prompt.shape[1] :].tolist() if token not in ends]
        [document_row] = knowledge_base.lookup([clue])
        document_id = knowledge_base[int(document_row)]["id"] if document_row >= 0 else None
        correct[len(example.objects)].append(document_id == example.document_id)
    return {
        "P@1 in words": float(np.mean([value for values in correct.values() for value in values])),
        **{f"P@1 in words, {n} objects": float(np.mean(v)) for n, v in correct.items()},
    }
