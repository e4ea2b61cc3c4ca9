"""The Python interface: what has a name is made from it, a search is one call, and its network loads in one more."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Never, cast

from archscout.core import options
from archscout.core.registry import create, names, register

if TYPE_CHECKING:
    from datetime import timedelta

    from torch import nn

    from archscout.core.architecture import Architecture
    from archscout.core.budget import Budget
    from archscout.core.cost import Constraint, Cost, Limit, Limits
    from archscout.core.estimator import Estimator
    from archscout.core.method import Method
    from archscout.core.progress import Progress
    from archscout.core.space import Space
    from archscout.core.strategy import Strategy
    from archscout.core.task import Task
    from archscout.deploy.quantise import Quantisation
    from archscout.search.result import Result
    from archscout.tables.table import Table
    from archscout.tables.trajectory import Trajectory
    from archscout.training.recipe import Recipe

__all__ = [
    "cost",
    "deploy",
    "estimator",
    "load",
    "method",
    "names",
    "quantise",
    "register",
    "search",
    "shrink",
    "simulate",
    "space",
    "strategy",
    "table",
    "task",
    "train",
]


def space(source: str | nn.Module) -> Space:
    """A search space by name (`"nasbench201:width=16"`), or that of a module of your own with choice layers in it.

    Raises `UsageError` for an unknown name or parameter, and for a module without a choice.
    """
    from archscout.spaces.load import load as load_space

    return load_space(source)


def task(source: Any, **parameters: Any) -> Task:
    """A built-in task by name, or one made of data of your own.

    Those are a path (`docs/data.md` has all forms), or what is at hand in Python: `(x, y)`, a dictionary of arrays, a
    `Dataset` or `DataLoader` of PyTorch, a table of pandas or pyarrow with a column of paths and one of labels.

    Raises `UsageError` for an unknown name, `DataError` for data that cannot be used.
    """
    from archscout.tasks.load import load as load_task

    return load_task(source, **parameters)


def estimator(name: str) -> Estimator:
    """An estimator by name: a zero-cost score (`"naswot"`), real training (`"trained"`), ..."""
    return cast("Estimator", create("estimator", name))


def strategy(name: str) -> Strategy:
    """A strategy by name, perhaps with parameters: `"evolution:population=50"`."""
    return cast("Strategy", create("strategy", name))


def method(name: str) -> Method:
    """A whole search by name; the name of a strategy is that strategy over real training."""
    from archscout.methods.strategy import resolve_method

    return resolve_method(name, ())


def cost(name: str) -> Cost:
    """A cost by name: `"params"`, `"macs"`, `"latency"`, ..."""
    return cast("Cost", create("cost", name))


def table(source: str | Path) -> Table:
    """A tabular benchmark: a registered one by name, or that in a Parquet file.

    Raises `UsageError` for an unknown name, `DataError` for a file that is no table.
    """
    from archscout.tables.load import load as load_table

    return load_table(source)


def search(
    space: Space | nn.Module | str,
    data: Task | Path | str | Any,
    *,
    method: str | Method | Strategy = "cascade",
    estimator: str | Estimator = "trained",
    maximum: Limits | None = None,
    objectives: str | Cost | Sequence[str | Cost] = (),
    budget: str | float | timedelta | Budget | None = "5m",
    seed: int = 0,
    workers: int | None = None,
    engine: str = "local",
    device: str = "cpu",
    store: str | Path | None = None,
    name: str | None = None,
    out: str | Path = "runs",
    epochs: int | None = None,
    recipe: str | Mapping[str, Any] | Recipe | None = None,
    times: Mapping[str, str | Path] | None = None,
    start: str | Path | Sequence[str | Architecture] | None = None,
    fresh: bool = False,
    progress: Progress | None = None,
    **unknown: Never,
) -> Result:
    """Find, train, measure and export a network, and write the page about it.

    The same call resumes a search that was interrupted. With a larger budget it goes on from what was paid for. A run
    that was started with another space, task, seed, limit or method is refused.

    Args:
        space: a registered name (`nasbench201`, `mobile:width=16`), a `Space`, or a module of your own with choices;
            `scratch` takes the space that trains best in little time on such data; `auto` does so, too, and where
            images are photographs and a trained backbone is installed it tries that first.
        data: a registered task, a path (`.npz`, a folder of class folders), a `Task`, or data at hand (see `task`).
        method: a registered method, or a strategy (which then proposes what is trained); or an object of these.
        estimator: what a strategy's proposals are judged by, by name or as an object.
        maximum: limits by cost: `{"latency": "2ms", "params": "100k"}`; kept by every winner.
        objectives: costs to trade against accuracy; without any, accuracy alone counts.
        budget: wall-clock time with everything included (`5m`, or a number of seconds), or trainings (`200trials`).
        seed: one seed, one search.
        workers: worker processes; by default one a core, of the whole cluster with `engine="ray"`. 0 works in this
            process.
        engine: `local` or `ray` (the cluster that `RAY_ADDRESS` names or that was started on this machine).
        device: where networks are trained: `cpu`, `cuda`, ... A microcontroller (`cortex-m4`: a device with memory in
            `archscout list devices`) is what they are for: they are trained on the processor here, and must keep to its
            flash and memory as integers where `maximum` says nothing of these.
        store: the URL of a database; by default a file in the run's folder.
        name: of the run; by default made of space, data, method and seed.
        out: the folder that the run's folder lies in.
        epochs: of full training; by default by the size of the data and the budget.
        recipe: how networks are trained, where that is not left to Archscout: the name of a registered recipe, fields
            of it that are to be other (`"sgd,lr=0.05,batch=128"`, `{"optimizer": "adamw", "lr": 1e-3}`), or a
            `Recipe`. Supernets learn by their own.
        times: of a finished run: CSV files of what its finalists took, by device of your own that is elsewhere
            (`finalists-DEVICE/` in the run's folder is what is measured there); the best of them that keeps every
            limit wins.
        start: what is evaluated before all else: architectures, a file that lists them (one a line, or a column
            `architecture`), the folder of an earlier search, or a table. Of a run or a table these are the best 10; of
            a table of another space, the 10 that one who has learned on it expects most of. A method also learns from
            the trials of a run of the same space, data and length of training, at no cost.
        fresh: whether a run of this name that is there is set aside, under another name, for this one to begin anew.
        progress: who is told how it goes.
        unknown: refused, with the nearest option that there is.

    Raises:
        UsageError: a wrong name or value, a limit that nothing meets, a budget that pays for nothing.
        ArchscoutError: the search ended without a network.

    >>> archscout.search("nasbench201", "digits", maximum={"latency": "2ms"}, budget="2m")      # doctest: +SKIP
    """
    _refuse(unknown, search)
    began = time.monotonic()
    from archscout.costs.devices import searched_for
    from archscout.search.search import search as run_search
    from archscout.spaces.load import AUTO

    asked = device
    device, maximum = searched_for(device, maximum)
    given: dict[str, Any] = {
        "method": method,
        "estimator": estimator,
        "maximum": maximum,
        "objectives": objectives,
        "budget": budget,
        "seed": seed,
        "workers": workers,
        "engine": engine,
        "start": start,
        "device": device,
        "store": store,
        "name": name,
        "out": out,
        "epochs": epochs,
        "recipe": recipe,
        "times": times,
        "fresh": fresh,
        "progress": progress,
    }
    if isinstance(space, str) and space == AUTO:
        from archscout.shrink.automatic import begin

        result, data = begin(data, given, began)
        if result is not None:
            return _with_page(_for_device(result, asked, device))
    return _with_page(_for_device(run_search(space, data, began=began, **given), asked, device))


def _for_device(result: Result, asked: str, device: str) -> Result:
    """A search for a microcontroller says so: networks ran on another device."""
    if asked == device:
        return result
    from archscout.finished.deployed import note_device

    return note_device(result, asked)


def shrink(
    network: nn.Module | str | Any,
    data: Task | Path | str,
    *,
    maximum: Limits | None = None,
    budget: str | float | timedelta | Budget | None = "10m",
    weights: str | Path | None = None,
    size: int | None = None,
    only: Sequence[str] = (),
    keep: Sequence[str] = (),
    labels: bool = True,
    replace: bool = False,
    recipe: str | Mapping[str, Any] | Recipe | None = None,
    seed: int = 0,
    device: str = "cpu",
    name: str | None = None,
    out: str | Path = "runs",
    progress: Progress | None = None,
    **unknown: Never,
) -> Result:
    """A trained network made to keep measured limits: transferred to the data, cut where that harms least, recovered.

    The same call resumes. With a larger budget it goes on from what was trained.

    Args:
        network: a trained `nn.Module`, an `ExportedProgram`, the name of a backbone, or `package.module:factory`.
        data: a registered task, a path (`.npz`, a folder of class folders), or a `Task`.
        maximum: limits by cost, absolute or as a share of the original: `{"latency": "10ms", "params": "60%"}`.
        budget: of time, everything included.
        weights: a file of weights (`.safetensors`, `.pth` of tensors) for the network.
        size: height and width that a backbone gets its images at; by default by time and limits.
        only: layers (or beginnings of their names) that may be cut; all where empty.
        keep: layers that may not be cut.
        labels: whether the labels of the data count in recovery; otherwise the original alone teaches.
        replace: whether blocks become single convolutions (RAN-explicit) where channels would be cut.
        recipe: of fine-tuning and recovery, where that is not left to Archscout; see `search`, but without epochs.
        seed: one seed, one run.
        device: where it is trained.
        name: of the run; by default made of network, data and seed.
        out: the folder that the run's folder lies in.
        progress: who is told how it goes.
        unknown: refused, with the nearest option that there is.

    Raises:
        UsageError: a wrong name or value, a limit that no cut keeps, weights that do not fit.
        ArchscoutError: the limits are not kept when the recovered network is measured again.

    >>> shrink("efficientnet_lite0", "photos/", maximum={"latency": "10ms"}, budget="10m")      # doctest: +SKIP
    """
    _refuse(unknown, shrink)
    began = time.monotonic()
    from archscout.shrink.run import shrink as run_shrink

    return _with_page(
        run_shrink(
            network,
            data,
            maximum=maximum,
            budget=budget,
            weights=weights,
            size=size,
            only=only,
            keep=keep,
            labels=labels,
            replace=replace,
            recipe=recipe,
            seed=seed,
            device=device,
            name=name,
            out=out,
            progress=progress,
            spent=time.monotonic() - began,
        )
    )


def shrink_front(
    network: nn.Module | str | Any, data: Task | Path | str, limits: Limit | Iterable[Limit], **given: Any
) -> list[Result]:
    """One network for each limit of latency (`["5ms", "10ms"]`), from one transfer, with the options of `shrink`."""
    _refuse(given, shrink)
    from archscout.shrink.front import shrink_front as run_front

    return [_with_page(result) for result in run_front(network, data, limits, **given)]


def simulate(
    table: Table | str | Path,
    method: str | Method | Strategy = "cascade",
    budget: str | float | timedelta | Budget | None = "200trials",
    seed: int = 0,
    *,
    metric: str | None = None,
    task: Task | str | Path | None = None,
    constraints: Sequence[Constraint] = (),
    objectives: str | Sequence[str] = (),
    start: str | Path | Sequence[str | Architecture] | None = None,
    **unknown: Never,
) -> Trajectory:
    """A search of a table, whose trainings are looked up: how it went, and the regret after each of them.

    Networks without a value of the metric are no part of the search.

    Args:
        table: the ground truth: a registered table, a Parquet file, or a `Table`.
        method: a method or a strategy, by name or as an object.
        budget: so many trainings (`200trials`), or simulated time (`10h`, or a number of seconds) where the table has
            the seconds.
        seed: one seed, one trajectory.
        metric: what is searched for, and what regret is about; `Table.searched_metric` if not given.
        task: what zero-cost scores that the table does not have are computed on; without it they are undefined.
        constraints: limits on columns of the table, by key.
        objectives: columns of the table to trade against the value.
        start: what is evaluated before all else, see `search`.
        unknown: refused, with the nearest option that there is.

    Raises:
        UsageError: a metric or cost that the table does not have, a budget in time without seconds in the table.
        DataError: a file that is no table.
        ArchscoutError: nothing was found within the budget.

    >>> simulate("nasbench201.parquet", "evolution", "200trials", seed=0).regret[-1]      # doctest: +SKIP
    0.0012
    """
    _refuse(unknown, simulate)
    from archscout.study.simulated import simulate as run_simulation
    from archscout.tables.load import load as load_table
    from archscout.tables.table import Table

    return run_simulation(
        table if isinstance(table, Table) else load_table(table),
        method,
        budget,
        seed,
        metric=metric,
        task=task,
        constraints=constraints,
        objectives=objectives,
        start=start,
    )


def train(
    space: Space | nn.Module | str,
    architecture: str | Architecture,
    data: Task | Path | str | Any,
    *,
    epochs: int | None = None,
    recipe: str | Mapping[str, Any] | Recipe | None = None,
    seed: int = 0,
    out: str | Path = "runs",
    name: str | None = None,
    device: str = "cpu",
    fresh: bool = False,
    progress: Progress | None = None,
    **unknown: Never,
) -> Result:
    """Train one architecture in full, measure and export it, and write the page about it.

    The same call goes on with a training that was interrupted, and reports one that is finished.

    Args:
        space: a registered name, a `Space`, or a module of your own with choices.
        architecture: which one: an `Architecture`, its text, or the name of a reference design (`resnet8`).
        data: a registered task, a path, a `Task`, or data at hand (see `task`).
        epochs: of the training; by default by the size of the data.
        recipe: of the training, where that is not left to Archscout; see `search`.
        seed: one seed, one training.
        out: the folder that the run's folder lies in.
        name: of the run; by default made of space, data, architecture and seed.
        device: where it is trained: `cpu`, `cuda`, ...
        fresh: whether a run of this name that is there is set aside, under another name, for this one to begin anew.
        progress: who is told how it goes.
        unknown: refused, with the nearest option that there is.

    Raises:
        UsageError: a wrong name or value, or a run of this name that is another one.
        ArchscoutError: the network could not be trained.
    """
    _refuse(unknown, train)
    from archscout.search.search import train as run_train

    return _with_page(
        run_train(
            space,
            architecture,
            data,
            epochs=epochs,
            recipe=recipe,
            seed=seed,
            out=out,
            name=name,
            device=device,
            fresh=fresh,
            progress=progress,
        )
    )


def _refuse(given: Mapping[str, Any], function: Callable[..., Any]) -> None:
    """Raises `UsageError` for an option that a function has none of."""
    if given:
        known = [name for name in inspect.signature(function).parameters if name != "unknown"]
        options.check_names(given, known, f"archscout.{function.__name__}")


def _with_page(result: Result) -> Result:
    page, source = result.folder / "report.html", result.folder / "report.json"
    if not page.is_file() or page.stat().st_mtime_ns < source.stat().st_mtime_ns:
        from archscout.report.page import write

        write(result.folder)
    return result


def load(
    run: str | Path,
    *,
    space: Space | nn.Module | str | None = None,
    task: Task | None = None,
    folded: bool = False,
    device: str = "cpu",
) -> nn.Module:
    """The trained network of a run's folder, ready to use: as it was trained, or `folded` into its deployed form.

    The deployed form is in the numbers and the layout that a limit on its latency was measured in.

    It takes images as they are stored (float32, N x C x H x W, 0 to 255 where they were uint8) and returns one output a
    class (or whatever else the kind of its task gives); `load(run).classes` names the classes. A run whose space was a
    module of your own needs it again, as `space`; one whose task is of a kind that is not registered needs the task.
    `device` is where it is to run.

    Raises `UsageError` where there is no such run, space or device, `DataError` where its files are damaged.
    """
    from archscout.finished.network import load as load_network
    from archscout.workers.device import check_device

    place = check_device(device)
    network = load_network(options.run(run), space=space, task=task, folded=options.switch(folded, "folded"))
    return network.to(place)


def quantise(
    run: str | Path,
    data: Any = None,
    *,
    space: Space | nn.Module | str | None = None,
    form: str = "qdq",
    algorithm: str = "nearest",
    epochs: int | None = None,
    recipe: str | Mapping[str, Any] | Recipe | None = None,
    examples: int | None = None,
    weight_bytes: int | float | str | None = None,
    bit_operations: int | float | str | None = None,
    latency: int | float | str | None = None,
    latency_table: str | Path | None = None,
    bits_method: str | None = None,
    seed: int = 0,
    **how: Any,
) -> Result:
    """The network of a run in integers: `network-int8.onnx` beside the float one.

    `algorithm`: `nearest`, or one that learns which way to round (`adaround`, `brecq`, `qdrop`) from the examples;
    or quantisation-aware training for some `epochs`, by a `recipe` other than `finetune` if you like (`lsq`,
    `lsq_plus`, `pact`, `dorefa`, `dsq`, `tqt`, `ste`).
    Ranges are taken from training examples (`examples` of them, drawn by `seed`); the metric on validation and test
    examples, weight bytes and scheme go into the run's metrics, under `quantised`. `data` may be left out for
    built-in tasks. With `weight_bytes` ("20kB") each layer gets the bits, 2 to 8, that keep all weights within so
    many bytes and harm least (`archscout.shrink.bits.hessian`). `how`: what `archscout.deploy.quantise.Quantisation`
    takes (`scheme`, `weight_bits`, `observer`, ...).

    Raises `UsageError` for unknown schemes, bits or data of another kind, and for an operator that has no integer form.

    >>> quantise("runs/one", "photos/", weight_bits=4).metrics["quantised"]["test_accuracy"]      # doctest: +SKIP
    0.912
    """
    from archscout.deploy.quantised_onnx import check_form
    from archscout.finished.network import data_of, load_for_integers
    from archscout.finished.quantised import quantise_run
    from archscout.shrink.bits.methods import check_method
    from archscout.shrink.bits.within import within
    from archscout.training.asked import of_task

    chosen, epochs, count, seed, recipe = _quantisation(quantise, how, algorithm, epochs, examples, seed, recipe)
    check_form(form)
    if bits_method is not None:
        check_method(bits_method)
    folder = options.run(run)
    network = load_for_integers(folder, space)
    described = cast("Task", network.task)
    given = of_task(data_of(folder, described, data), recipe)
    limits = {"weight_bytes": weight_bytes, "bit_operations": bit_operations, "latency": latency}
    chosen = within(
        network, given, chosen, limits, latency_table=latency_table, method=bits_method, count=count, seed=seed
    )
    return _with_page(
        quantise_run(
            folder, network, given, chosen, form=form, algorithm=algorithm, epochs=epochs, count=count, seed=seed
        )
    )


def _quantisation(
    function: Callable[..., Any],
    how: Mapping[str, Any],
    algorithm: str,
    epochs: int | None,
    examples: int | None,
    seed: int,
    recipe: str | Mapping[str, Any] | Recipe | None,
) -> tuple[Quantisation, int | None, int, int, str]:
    """What `quantise` and `deploy` read alike: schemes, epochs, number of examples, seed, recipe.

    Raises `UsageError`.
    """
    from archscout.deploy.quantise import Quantisation
    from archscout.finished.algorithms import check_algorithm, check_recipe
    from archscout.finished.examples import EXAMPLES
    from archscout.training import asked

    options.check_names(how, list(inspect.signature(Quantisation).parameters), f"archscout.{function.__name__}")
    chosen = Quantisation(**how)
    check_algorithm(algorithm)
    count = EXAMPLES if examples is None else options.whole(examples, "the number of examples", 1)
    text, epochs = asked.read(recipe, options.epochs(epochs))
    if text:
        check_recipe(algorithm, text)
    return chosen, epochs, count, options.seed(seed), text


def deploy(
    run: str | Path,
    device: str | None,
    out: str | Path,
    data: Any = None,
    *,
    space: Space | nn.Module | str | None = None,
    algorithm: str = "nearest",
    epochs: int | None = None,
    recipe: str | Mapping[str, Any] | Recipe | None = None,
    examples: int | None = None,
    vectors: int | None = None,
    patches: int = 0,
    seed: int = 0,
    **how: Any,
) -> dict[str, Any]:
    """The network of a run as C code for a microcontroller, in a folder of its own; gives what its `budget.json` says.

    `device` is a microcontroller; where None, the one that the run was searched for. `vectors` are the examples of its
    self-test; with `patches` (2 to 8) the first operators run in so many patches by
    so many, which needs less memory and more instructions; all else is as in `quantise`.

    Raises `UsageError` for a device whose memory or processor is not known, and for an operator that has no integer
    form, `ArchscoutError` where the code breaks a limit of the search, or does not compile.

    >>> deploy("runs/one", "cortex-m4", "firmware/", "photos/")["flash_bytes"]      # doctest: +SKIP
    84516
    """
    from archscout.finished.deployed import MOST_PATCHES, VECTORS, deploy_run, searched_device, target
    from archscout.finished.network import data_of, load_for_integers
    from archscout.training.asked import of_task

    chosen, epochs, count, seed, recipe = _quantisation(deploy, how, algorithm, epochs, examples, seed, recipe)
    vectors = options.whole(VECTORS if vectors is None else vectors, "the number of vectors", 1)
    patches = options.whole(patches, "the number of patches along a side", 0, MOST_PATCHES)
    folder, place = options.run(run), options.path(out, "the folder for the code")
    device = searched_device(folder) if device is None else device
    target(device)
    network = load_for_integers(folder, space)
    given = of_task(data_of(folder, cast("Task", network.task), data), recipe)
    return deploy_run(
        folder,
        network,
        given,
        device,
        place,
        chosen,
        algorithm=algorithm,
        epochs=epochs,
        count=count,
        vectors=vectors,
        patches=patches,
        seed=seed,
    )
