"""Bits as mixtures of all: weights and values at all bits, weighted by a softmax that is learned."""

from __future__ import annotations

import torch

from archscout.shrink.bits.problem import BitProblem, Choice
from archscout.shrink.bits.relaxed import learn, likeliest


def differentiable(problem: BitProblem, seed: int) -> Choice:
    """EdMIPS (Cai, Vasconcelos 2020, arXiv 2004.05795), on the trained network: its weights stay as they are.

    A convolution is linear, so that the weights at all bits are mixed first and one convolution runs. The choice is the
    likeliest one within the limits. Nothing of it is random.
    """
    logits = [torch.zeros(len(problem.bits), requires_grad=True) for _ in problem.places]
    learn(problem, logits, lambda: [torch.softmax(each, 0) for each in logits])
    return likeliest(problem, [torch.softmax(each, 0) for each in logits])
