"""Does the language model solve the task in words, before any image is involved?"""

import numpy as np
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from gemkr_hf.knowledge_base import KnowledgeBase
from gemkr_hf.modeling import diverse_beam_search
from gemkr_hf.toy.stand_ins.language_model_stand_in import Writer
from gemkr_hf.toy.stand_ins.words_task import WordsTask
from gemkr_hf.toy.symbols.symbol_documents import load_documents
from gemkr_hf.training.clue_sampling import SamplingConfig


@torch.no_grad()
def words_accuracy(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    questions: int = 200,
    seed: int = 20_000,
) -> dict[str, float]:
    """Constrained decoding of held-out questions about scenes told in words.

    Returns:
        P@1 by number of objects, and the share over all.
    """
    knowledge_base = KnowledgeBase.from_documents(load_documents(), tokenizer)
    constraint = knowledge_base.constraint()
    writer, task = Writer(tokenizer, SamplingConfig()), WordsTask()
    rng = np.random.default_rng(seed)
    right: dict[int, list[bool]] = {number: [] for number in range(1, 5)}
    for row in range(questions):
        example = task.draw(rng, number=row % 4 + 1)
        prompt = torch.tensor([writer.prompt(example, slots=False).tokens])
        written = diverse_beam_search(
            model,
            {"input_ids": prompt, "attention_mask": torch.ones_like(prompt)},
            constraint,
            num_beams=8,
            num_beam_groups=2,
            diversity_penalty=0.5,
            max_new_tokens=16,
        )
        ends = {tokenizer.eos_token_id, tokenizer.pad_token_id}
        clue = [token for token in written[0, prompt.shape[1] :].tolist() if token not in ends]
        [found] = knowledge_base.lookup([clue])
        document = knowledge_base[int(found)]["id"] if found >= 0 else None
        right[len(example.objects)].append(document == example.document_id)
    every = [value for values in right.values() for value in values]
    figures = {f"P@1 in words, {n} objects": float(np.mean(v)) for n, v in right.items()}
    return {"P@1 in words": float(np.mean(every)), **figures}
