"""Ways from a trained network to integers, by name: rounded as it is, rounded part by part, or trained on."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from archscout.core import options
from archscout.core.errors import UsageError, nearest
from archscout.core.task import Task
from archscout.deploy.program import Program
from archscout.deploy.quantise import Quantisation, Quantised, quantise
from archscout.deploy.quantisers import QUANTISERS, SoftRounding
from archscout.deploy.reading import read
from archscout.deploy.simulation import Simulation, simulate
from archscout.finished.examples import calibration, span
from archscout.tasks.audio import AudioTask, Listener
from archscout.tasks.image_task import Deployed, ImageTask
from archscout.training.asked import read_text, recipe_for
from archscout.training.aware import EPOCHS, OWN, train_aware
from archscout.training.recipe import Recipe
from archscout.training.reconstruction import RECONSTRUCTIONS, reconstruct

ALGORITHMS = ("nearest", *RECONSTRUCTIONS, *QUANTISERS)
"""`nearest` rounds to it; `adaround`, `brecq` and `qdrop` learn which way to round, without labels; the others are
quantisers of quantisation-aware training."""


def check_algorithm(name: str) -> str:
    """The name of an algorithm, as given. Raises `UsageError`."""
    if options.text(name, "the algorithm") not in ALGORITHMS:
        raise UsageError(f"there is no quantisation algorithm '{name}': {nearest(name, ALGORITHMS)}")
    return name


def trains(algorithm: str) -> bool:
    """Whether it is quantisation-aware training."""
    return algorithm in QUANTISERS


def check_recipe(algorithm: str, recipe: str) -> None:
    """Raises `UsageError` where an algorithm does not train, or is not to be told what a recipe says."""
    check_trains(algorithm, "recipe")
    own = sorted({name for name, _ in read_text(recipe).fields} & set(OWN))
    if own:
        raise UsageError(f"quantisation-aware training has a {own[0]} of its own: leave it out of the recipe.")


def check_trains(algorithm: str, what: str) -> None:
    """Raises `UsageError` where an algorithm does not train, and what only trainings have is asked for."""
    if not trains(algorithm):
        known = ", ".join(QUANTISERS)
        raise UsageError(f"algorithm '{algorithm}' does not train: leave out the {what}, or use {known}.")


def to_integers(
    network: nn.Module,
    task: Task,
    how: Quantisation,
    *,
    algorithm: str = "nearest",
    epochs: int | None = None,
    count: int,
    seed: int,
) -> Quantised:
    """The integers of a trained network.

    Args:
        network: the deployed network of a task, inputs as they are stored; it is left as it was.
        task: with data: ranges come from training examples, and quantisation-aware training learns from them.
        how: schemes, observer and corrections; the bias correction is of `nearest` alone, for the others learn to do
            without.
        algorithm: of `ALGORITHMS`.
        epochs: of quantisation-aware training; ten where None.
        count: training examples that ranges are taken from, and rounding is learned from.
        seed: which these are, and of the training.

    Raises:
        UsageError: there is no such algorithm, epochs for one that does not train, or an operator without integer form.
    """
    check_algorithm(algorithm)
    if epochs is not None:
        check_trains(algorithm, "epochs")
    if algorithm == "nearest":
        return quantise(program_of(network, task), calibration(task, count, seed), how, span=span(task))
    return simulated(
        network, task, how, algorithm=algorithm, epochs=epochs or EPOCHS, count=count, seed=seed
    ).integers()


def simulated(
    network: nn.Module,
    task: Task,
    how: Quantisation,
    *,
    algorithm: str,
    epochs: int = EPOCHS,
    count: int,
    seed: int,
    track: str = "deployable",
    fold: str = "merged",
) -> Simulation:
    """The simulation of a quantised network, after the algorithm; on the academic track there is nothing else."""
    program, examples = normalised_program(network, task), calibration(task, count, seed)
    if trains(algorithm):
        kind = QUANTISERS[algorithm]
        simulation = simulate(
            program, examples, how, span=span(task), weights=kind, activations=kind, track=track, fold=fold
        )
        train_aware(simulation, task, recipe_for(task, epochs, Recipe.named("finetune", task, epochs)), seed=seed)
    elif algorithm == "nearest":
        simulation = simulate(program, examples, how, span=span(task), track=track)
    else:
        parts = RECONSTRUCTIONS[algorithm]
        simulation = simulate(
            program, examples, how, span=span(task), weights=SoftRounding, activations=parts.activations, track=track
        )
        reconstruct(simulation, examples, parts, seed=seed)
    return simulation.eval()


def check_images(task: Task) -> ImageTask:
    """The task, as given. Raises `UsageError` for one that is not of images."""
    if not isinstance(task, ImageTask):
        raise UsageError(f"int8 ONNX files are made of networks for images, and task '{task.name}' has none.")
    return task


def program_of(network: nn.Module, task: Task) -> Program:
    """The program of a deployed network from the inputs `stored` on: of a network for recordings, that behind the
    spectrogram. Raises `UsageError` for an operator without integer form."""
    if not isinstance(network, Listener):
        return read(network, task.input_shape)
    mean, std = (number.detach().view(1, 1, 1) for number in (network.mean, network.std))
    return replace(read(network.network, task.input_shape), mean=mean, std=std)


def normalised_program(network: nn.Module, task: Task) -> Program:
    """The program of a deployed network whose value 0 is what the task gives to networks.

    Raises `UsageError` for a task of neither images nor recordings.
    """
    if isinstance(task, AudioTask):
        return program_of(network, task)
    task = check_images(task)
    inner = network.network if isinstance(network, Deployed) else network
    mean, std = (torch.tensor(numbers).view(-1, 1, 1) for numbers in (task.mean, task.std))
    return replace(read(inner, task.input_shape), mean=mean, std=std)
