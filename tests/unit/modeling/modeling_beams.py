"""Constraints for the tests of beam search, and a slow reference written from the definition."""

import torch
from transformers import LogitsProcessor

EOS = 2


class EndTokenBonus(LogitsProcessor):
    """Makes a random model end now and then."""

    def __init__(self, ends):
        self.ends = ends

    def __call__(self, input_ids, scores):
        scores = scores.clone()
        scores[:, self.ends] += 4
        return scores


class ClueConstraint(LogitsProcessor):
    """Allows the sequences of a small knowledge base after a prompt of known length."""

    def __init__(self, clues, prompt_length):
        self.prompt_length = prompt_length
        self.next = {}
        for clue in clues:
            clue = (*clue, EOS)
            for place, token in enumerate(clue):
                self.next.setdefault(tuple(clue[:place]), set()).add(token)
        self.calls = []

    def allowed(self, tokens):
        return self.next.get(tuple(tokens), set())

    def __call__(self, input_ids, scores):
        self.calls.append(tuple(input_ids.shape))
        masked = torch.full_like(scores, -torch.inf)
        for row, tokens in enumerate(input_ids[:, self.prompt_length :].tolist()):
            # Core still asks for rows that have ended.
            index = [EOS] if EOS in tokens else list(self.allowed(tokens))
            masked[row, index] = scores[row, index]
        return masked


def some_clues(seed=0, number=30, shortest=2, longest=4, highest=20):
    generator = torch.Generator().manual_seed(seed)
    clues = set()
    while len(clues) < number:
        length = int(torch.randint(shortest, longest + 1, (1,), generator=generator))
        clues.add(tuple(torch.randint(4, highest, (length,), generator=generator).tolist()))
    # No clue continues another: as with distinctive clues, an end is never a choice.
    return [c for c in clues if not any(o != c and o[: len(c)] == c for o in clues)]


def found(output, inputs, query, keep):
    """`[(score, clue, group)]` of one query."""
    prompt = inputs["input_ids"].shape[1]
    rows = []
    for row in range(query * keep, (query + 1) * keep):
        score = output.sequences_scores[row].item()
        if score > float("-inf"):
            tokens = output.sequences[row, prompt:].tolist()
            if EOS in tokens:
                tokens = tokens[: tokens.index(EOS) + 1]
            rows.append((score, tuple(tokens), output.beam_groups[row].item()))
    return rows


def log_probs_of(model, inputs, tokens):
    """Log-probabilities after prompt and tokens, one query, one beam, the whole forward pass."""
    ids = inputs["input_ids"]
    more = torch.tensor([tokens], dtype=torch.long).view(1, -1)
    mask = torch.cat([inputs["attention_mask"], torch.ones_like(more)], dim=1)
    whole = {**inputs, "input_ids": torch.cat([ids, more], dim=1), "attention_mask": mask}
    with torch.no_grad():
        return torch.log_softmax(model(**whole).logits[0, -1].double(), dim=-1).tolist()


def diverse_beams(model, inputs, beams, groups, penalty, steps, keep, eos, allowed=None):
    """The `keep` best `(score, clue, group)` of one query, without cache, batch or tensors.

    Forced end tokens are not scored; the last step finishes what is open.
    `allowed(tokens)` gives the set of tokens that may follow, everything when it is None.
    """
    width = beams // groups
    state = [[((), 0.0, 0.0)] for _ in range(groups)]  # (tokens, score, guide)
    pool = {}

    def finish(tokens, score, group):
        if tokens not in pool or score > pool[tokens][0]:
            pool[tokens] = (score, group)

    for step in range(steps):
        last = step == steps - 1
        nexts = {}
        # Beams that can only end leave before anyone chooses.
        for group, open_beams in enumerate(state):
            going_on = []
            for tokens, score, guide in open_beams:
                choices = None if allowed is None else allowed(tokens)
                if choices == {eos}:
                    finish((*tokens, eos), score, group)
                elif choices is None or choices:
                    nexts[tokens] = (log_probs_of(model, inputs, list(tokens)), choices)
                    going_on.append((tokens, score, guide))
            state[group] = going_on
        chosen = {}
        for group, open_beams in enumerate(state):
            candidates = []
            for tokens, score, guide in open_beams:
                log_probs, choices = nexts[tokens]
                for token in range(len(log_probs)) if choices is None else sorted(choices):
                    paid = penalty * chosen.get(token, 0)
                    candidates.append(
                        (
                            guide + log_probs[token] - paid,
                            (*tokens, token),
                            score + log_probs[token],
                        )
                    )
            candidates.sort(key=lambda candidate: -candidate[0])
            state[group] = []
            for rank, (guide, tokens, score) in enumerate(candidates[: 2 * width]):
                if tokens[-1] == eos or last:
                    if rank < width:
                        finish(tokens, score, group)
                elif len(state[group]) < width:
                    state[group].append((tokens, score, guide))
            for tokens, _, _ in state[group]:
                chosen[tokens[-1]] = chosen.get(tokens[-1], 0) + 1
    ranked = sorted(pool.items(), key=lambda item: -item[1][0])[:keep]
    return [(score, tokens, group) for tokens, (score, group) in ranked]
