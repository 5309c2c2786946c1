"""Diverse beam search, slowly: no cache, no batch, Python lists. Written from the definition."""

import torch


def log_probs_of(model, inputs, tokens):
    """Log-probabilities after prompt and tokens, one query, one beam, the whole forward pass."""
    ids = inputs["input_ids"]
    more = torch.tensor([tokens], dtype=torch.long).view(1, -1)
    mask = torch.cat([inputs["attention_mask"], torch.ones_like(more)], dim=1)
    whole = {**inputs, "input_ids": torch.cat([ids, more], dim=1), "attention_mask": mask}
    with torch.no_grad():
        return torch.log_softmax(model(**whole).logits[0, -1].double(), dim=-1).tolist()


def diverse_beams(model, inputs, beams, groups, penalty, steps, keep, eos, allowed=None):
    """The `keep` best `(score, clue, group)` of one query, the score without forced end tokens.

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
