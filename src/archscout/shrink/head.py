"""A new head for a backbone: the logistic regression of features that are computed once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from archscout.backbones.adapted import Adapted
from archscout.core.seeds import stream
from archscout.core.task import Split, Task
from archscout.shrink.kept import BATCH, KeptFeatures
from archscout.training.contexts import evaluation
from archscout.training.speed import Mode

PENALTIES = (0.001, 0.003, 0.01, 0.03, 0.1)
"""Inverse strengths of the logistic regression's penalty, on features of unit variance."""


def probe(
    network: Adapted, head: str, task: Task, *, most: int | None = None, mode: Mode | None = None, device: str = "cpu"
) -> float:
    """Fit the head by logistic regression on features of the training images (mirrored ones too, where these may be).

    The strength of the penalty is chosen by the validation split; the head gets the weights in place.

    Args:
        network: whose head it is.
        head: the name of the layer.
        task: with its training and validation images.
        most: training images that are looked at; `some` of them where there are more.
        mode: number format and layout.
        device: where.

    Returns:
        The accuracy on the validation split.
    """
    x, y = task.tensors(task.train if most is None else some(task.train, most), device)
    parts = [x, x.flip(3)] if getattr(task, "flip", False) else [x]
    mode = mode or Mode("float32", "channels_last")
    layer = network.network.get_submodule(head)
    features = torch.cat([_features(network, layer, part, mode) for part in parts])
    valid_x, valid_y = task.tensors(task.valid, device)
    return fit_head(layer, features, torch.cat([y] * len(parts)), _features(network, layer, valid_x, mode), valid_y)


def some(split: Split, most: int) -> Split:
    """So many of the examples, drawn at random, always the same ones, and of each class one at least."""
    if len(split) <= most:
        return split
    order = stream(0, "examples of a head").permutation(len(split))
    _, first = np.unique(split.y[order], return_index=True)
    rows = np.union1d(order[:most], order[first])
    return Split(split.x[rows], split.y[rows])


def probe_kept(
    rest: nn.Module,
    layer: nn.Module,
    kept: KeptFeatures,
    *,
    most: int | None = None,
    mode: Mode,
    device: str = "cpu",
) -> float:
    """The same on features that are kept, of images as they are and mirrored: those of the first two copies."""
    copies = min(2, kept.copies)
    train = kept.first(copies).train
    x, y = kept.tensors(train if most is None else some(train, copies * most), device)
    valid_x, valid_y = kept.tensors(kept.valid, device)
    return fit_head(layer, _features(rest, layer, x, mode), y, _features(rest, layer, valid_x, mode), valid_y)


def fit_head(layer: nn.Module, features: Tensor, targets: Tensor, valid: Tensor, valid_targets: Tensor) -> float:
    """A linear layer as the logistic regression of features (N x F), its penalty chosen by the loss on others.

    Returns:
        The accuracy on these others; NaN where there are none.
    """
    from sklearn.linear_model import LogisticRegression

    mean, std = features.mean(0), features.std(0).clamp(min=1e-3)
    x, others = ((features - mean) / std).numpy(), ((valid - mean) / std).numpy()
    y, other_y = targets.cpu().numpy(), valid_targets.cpu().numpy()
    least, fitted = math.inf, None
    for penalty in PENALTIES if len(others) else PENALTIES[1:2]:
        model = _fit(LogisticRegression(C=penalty, max_iter=100), x, y)
        loss = _log_loss(model, others, other_y) if len(others) else 0.0
        if fitted is not None and loss >= least:
            break
        least, fitted = loss, model
    assert fitted is not None
    rows = torch.as_tensor(fitted.classes_)
    coefficients, intercepts = fitted.coef_, fitted.intercept_
    if len(rows) == 2:  # scikit-learn keeps one row for two classes
        coefficients, intercepts = np.stack([-coefficients[0], coefficients[0]]) / 2, np.array([-1, 1]) * intercepts / 2
    weight = torch.zeros_like(layer.weight, device="cpu")  # type: ignore[arg-type]
    bias = torch.full((len(weight),), -10.0)  # a class that no training image has
    weight[rows] = torch.as_tensor(coefficients, dtype=torch.float32) / std
    bias[rows] = torch.as_tensor(intercepts, dtype=torch.float32)
    with torch.no_grad():
        layer.weight.copy_(weight)  # type: ignore[operator]
        layer.bias.copy_(bias - weight @ mean)  # type: ignore[operator]
    return float((fitted.predict(others) == other_y).mean()) if len(others) else math.nan


def _fit(model: Any, x: np.ndarray, y: np.ndarray) -> Any:
    import warnings

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # that it has not converged: more iterations change no answer
        return model.fit(x, y)


def _log_loss(model: Any, x: np.ndarray, y: np.ndarray) -> float:
    """Mean over the examples; one whose class was not learned counts as a probability of a thousandth."""
    probabilities = model.predict_proba(x)
    places = {label: place for place, label in enumerate(model.classes_.tolist())}
    likely = [row[places[label]] if label in places else 0.0 for row, label in zip(probabilities, y, strict=True)]
    return float(-np.log(np.maximum(likely, 1e-3)).mean())


def _features(network: nn.Module, layer: nn.Module, x: Tensor, mode: Mode) -> Tensor:
    """What a layer is given, of every input."""
    features: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0].detach().float().cpu()))
    network.to(memory_format=mode.memory_format)  # type: ignore[call-overload]
    try:
        with evaluation(network):
            for batch in torch.split(x, BATCH):
                with mode.autocast(x.device.type):
                    network(batch.contiguous(memory_format=mode.memory_format))
    finally:
        handle.remove()
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return torch.cat(features) if features else torch.zeros(0, int(layer.in_features))  # type: ignore[arg-type]
