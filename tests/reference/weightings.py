"""From logits to attention weights, one query at a time: WEIGHTINGS[name](args, p, logits_HLM, allowed_LM)."""

import math

import numpy as np


def by_query(rule):
    """`rule(args, p, h, scores)` sees the allowed logits of one query of head h; all other weights are 0."""

    def weighting(args, p, logits, allowed):
        weights = np.zeros(logits.shape)
        for h in range(logits.shape[0]):
            for i in range(logits.shape[1]):
                js = np.flatnonzero(allowed[i])
                if len(js):
                    weights[h, i, js] = rule(args, p, h, logits[h, i, js])
        return weights

    return weighting


def exponentials(scores, *others):
    """exp of the scores over the sum of all, `others` included, each shifted by the largest of all."""
    top = max(scores.max(), *others) if others else scores.max()
    top_up = np.exp(scores - top)
    return top_up / (top_up.sum() + sum(math.exp(o - top) for o in others))


def softmax(args, p, h, scores):
    return exponentials(scores)


def softmax1(args, p, h, scores):
    """One more key with logit 0 and value 0 (Miller 2023)."""
    return exponentials(scores, 0.0)


def sink(args, p, h, scores):
    """One more key with a learned logit per head and value 0 (gpt-oss)."""
    return exponentials(scores, p["sink"][h])


def uniform(args, p, h, scores):
    return np.full(len(scores), 1 / len(scores))


def sigmoid(args, p, h, scores):
    """Ramapuram et al. 2024 (2409.04431), with their b = -log n, n the keys that the query may see."""
    given = args.get("bias")
    b = -math.log(len(scores)) if given is None else given
    return np.array([1 / (1 + math.exp(-(s + b))) if s + b > -500 else 0.0 for s in scores])


def top_k(args, p, h, scores):
    """Zhao et al. 2019 (1912.11637): what is below the k-th largest is as if masked."""
    k = args.get("k", 8)
    threshold = sorted(scores, reverse=True)[min(k, len(scores)) - 1]
    chosen = scores >= threshold
    weights = np.zeros(len(scores))
    weights[chosen] = exponentials(scores[chosen])
    return weights


WEIGHTINGS = {rule.__name__: by_query(rule) for rule in (softmax, softmax1, sink, uniform, sigmoid, top_k)}
