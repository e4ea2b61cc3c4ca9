"""What is said of a network's answers to the test split, for tasks that have classes."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from archscout.core.panel import Confusion, Panel, Pictures, Table
from archscout.core.task import Answers

SHOWN = 12
"""Mistakes that are shown, at most."""


def classification(
    answers: Iterable[Answers],
    class_names: Sequence[str],
    picture: Callable[[np.ndarray], str] | None = None,
    decide: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None,
) -> list[Panel]:
    """The confusion matrix, and the most confident mistakes (of several equally confident ones, those that come first).

    Args:
        answers: outputs N x K, targets N.
        class_names: K names, or none.
        picture: makes a PNG file in base64 of a stored example, where there is something to see.
        decide: from outputs to how sure each answer is, and the class that it is; the likeliest where not given. Then
            there is a name for each class.
    """
    counts: np.ndarray | None = None
    worst: list[tuple[float, int, str, str]] = []
    place = 0
    for outputs, targets, stored in answers:
        classes = outputs.shape[1] if decide is None else len(class_names)
        confidence, predicted = (tensor.cpu() for tensor in (decide(outputs) if decide else outputs.softmax(1).max(1)))
        truth = targets.cpu()
        pairs = torch.bincount(truth * classes + predicted, minlength=classes**2).view(classes, classes).numpy()
        counts = pairs if counts is None else counts + pairs
        wrong = (predicted != truth).nonzero().flatten()
        for i in wrong[confidence[wrong].argsort(descending=True, stable=True)][:SHOWN].tolist():
            sure, number = float(confidence[i]), place + i
            if len(worst) < SHOWN or (sure, -number) > worst[0][:2]:
                true, said = (_name(class_names, int(tensor[i])) for tensor in (truth, predicted))
                text = f"is {true}, called {said}, {sure:.0%} sure"
                entry = (sure, -number, text, picture(stored[i]) if picture else "")
                (heapq.heappush if len(worst) < SHOWN else heapq.heappushpop)(worst, entry)
        place += len(truth)
    if counts is None:
        return []
    names = [_name(class_names, number) for number in range(len(counts))]
    panels: list[Panel] = [Confusion("Which classes it confuses", names, counts.tolist())]
    if worst:
        shown = [(image, text) for *_, text, image in sorted(worst, reverse=True)]
        title = "Mistakes, the most confident first"
        panels.append(Pictures(title, shown) if picture else Table(title, ["mistake"], [[text] for _, text in shown]))
    return panels


def _name(names: Sequence[str], number: int) -> str:
    return names[number] if number < len(names) else str(number)
