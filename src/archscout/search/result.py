"""What a search ends in: a folder, and what lies in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archscout.core.errors import DataError, UsageError
from archscout.core.estimator import TRAINING, is_training
from archscout.core.files import read_json, well_formed
from archscout.core.metric import Metric
from archscout.core.written import counted, significant

METRICS = "metrics.json"
REPORT = "report.json"
RESTORE = "remove this run's folder and search again, or restore it from a copy."

NAMED = 3
"""Hand-made designs that are named in what is said at the end."""

UNUSED = 10.0
"""Seconds of a budget that are worth a word where they are left over."""


@dataclass(frozen=True)
class Result:
    """A finished search: `folder` holds the network, `metrics` is its `metrics.json`."""

    folder: Path
    metrics: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Result:
        """The result that lies in a folder. Raises `UsageError` where none does."""
        file = folder / METRICS
        if not file.is_file():
            raise UsageError(f"'{folder}' holds no finished search: there is no metrics.json in it.")
        metrics = read_json(file, RESTORE)
        if not isinstance(metrics, dict) or not isinstance(metrics.get("architecture"), str):
            raise DataError(f"'{file}' is damaged (it names no architecture): {RESTORE}")
        return cls(folder, metrics)

    @property
    def architecture(self) -> str:
        """The winner, as text."""
        return str(self.metrics["architecture"])

    @property
    def pareto(self) -> list[dict[str, Any]]:
        """The trained networks that no other beats in both metric and cost."""
        return list(self.metrics["pareto"])

    @property
    def metric(self) -> Metric:
        """What the task measured."""
        return Metric.from_json(self.metrics.get("metric_details"), str(self.metrics["metric"]))

    def summary(self) -> str:
        """A few lines for people. Raises `DataError` where the figures are damaged."""
        with well_formed(self.folder / METRICS, RESTORE):
            return self._summary()

    def _summary(self) -> str:
        if self.metrics.get("simulated"):
            return self._simulated()
        metric = self.metric
        costs, missing = self.metrics["costs"], self.metrics.get("missing", {})
        lines = [
            f"{self.metrics['architecture']}",
            f"{metric.title} {metric.text(self.metrics[f'valid_{metric}'])} on validation"
            + (
                f", {metric.text(tested)} on test" if (tested := self.metrics.get(f"test_{metric}")) is not None else ""
            ),
            ", ".join(f"{key} {significant(value, 4)}" for key, value in costs.items()),
            *self._training(),
            *self._mirrored(),
            f"{self._evaluated()}, {self.metrics['rejected']} rejected for their cost, "
            f"{self.metrics['failed_trials']} failed, in {self.metrics['seconds']['total']:.0f} s",
            *self._quantised(),
            *self._missing(),
            f"in {self.folder}: "
            + ", ".join(file for file in ("network.onnx", "network.safetensors", "report.html") if file not in missing),
        ]
        return "\n".join([*lines, *self._predicted()])

    def _evaluated(self) -> str:
        """How many networks were judged, and how many of them by training."""
        estimator, trained = str(self.metrics.get("estimator", TRAINING)), self.metrics.get("trained")
        if self.metrics["trials"] == 0 and self.metrics.get("training"):
            return "no other network trained"
        if is_training(estimator) or trained is None:
            return f"{self.metrics['trials']} trained"
        return f"{self.metrics['trials']} judged by '{estimator}', {trained} trained"

    def _missing(self) -> list[str]:
        """What the network cannot do, and the result therefore has not."""
        return [f"no {what}: {reason}" for what, reason in self.metrics.get("missing", {}).items()]

    def _quantised(self) -> list[str]:
        """What the network came to in integers."""
        quantised = self.metrics.get("quantised")
        if not quantised:
            return []
        metric = self.metric
        values = [
            f"{metric.text(quantised[f'{split}_{metric}'])} on {name}"
            for split, name in (("valid", "validation"), ("test", "test"))
            if quantised.get(f"{split}_{metric}") is not None
        ]
        bits = f"{quantised['weight_bits']} bits" if quantised["weight_bits"] == quantised["activation_bits"] else (
            f"weights of {quantised['weight_bits']} bits and activations of {quantised['activation_bits']}"
        )  # fmt: skip
        if len(set(quantised["layer_bits"])) > 1:
            bits = f"weights of {min(quantised['layer_bits'])} to {max(quantised['layer_bits'])} bits"
        return [
            f"{metric.title} {', '.join(values)} with {bits} ({quantised['weight_bytes']:,} bytes, {quantised['file']})"
        ]

    def _training(self) -> list[str]:
        """How the network was trained, and whether longer is expected to pay."""
        training = self.metrics.get("training")
        if not training:
            return []
        epochs, examples = counted(training["epochs"], "epoch"), counted(training["examples"], "example")
        line = f"trained for {epochs} on {examples}"
        if training["epochs"] != training["planned_epochs"]:
            line += f" ({training['planned_epochs']} were planned)"
        if training["short"]:
            enough = counted(training["advised_epochs"], "epoch")
            line += f": a short training (about {enough} pay), more time will find a better network"
        unused = training.get("unused_seconds") or 0.0
        if unused > UNUSED:
            line += f"; {unused:.0f} s of the budget were left unused"
        return [line, *self._references(training)]

    def _mirrored(self) -> list[str]:
        """That limits left room for a second pass, over the mirror image, and what it came to."""
        form = self.metrics.get("mirrored") or {}
        if not form.get("chosen"):
            return []
        metric, values = self.metric, form[f"valid_{self.metric}"]
        limited = [row["key"] for row in self.metrics["constraints"] if row["key"] in form["costs"]]
        costs = [
            f"{key} {significant(form['costs'][key]['alone'], 3)} -> {significant(form['costs'][key]['mirrored'], 3)}"
            for key in limited
            if not key.startswith("params")
        ]
        return [
            "the limits leave room for the mean over an image and its mirror image: "
            f"{metric.title} {metric.text(values['alone'])} -> {metric.text(values['mirrored'])} on validation, "
            f"{', '.join(costs)} (mirrored=false in --data: without)"
        ]

    def _references(self, training: Mapping[str, Any]) -> list[str]:
        """What the hand-made designs came to that were trained within the search, the best first."""
        rows = [row for row in training.get("references", ()) if "value" in row]
        metric = self.metric
        rows.sort(key=lambda row: -metric.oriented(row["value"]))
        texts = [f"'{row['name']}' {metric.text(row['value'])} after {counted(row['epochs'], 'epoch')}" for row in rows]
        return [f"hand-made designs in this search, on validation: {', '.join(texts[:NAMED])}"] if texts else []

    def _predicted(self) -> list[str]:
        """Of each cost that was predicted, not measured: how sure it is, and what makes it sure."""
        lines = []
        waiting = {each["key"]: each for each in self.metrics.get("measure_next", ())}
        for key, details in self.metrics.get("cost_details", {}).items():
            if not details.get("trusted", True):
                lines.append(f"{key} is not to be trusted: {untrusted(details)}; 'archscout measure' measures it again")
            if not details.get("predicted"):
                continue
            line = f"{key} is predicted, not measured (19 times in 20 at most {significant(details['high'], 4)})"
            if key in waiting:
                there = waiting[key]
                line += (
                    f": to be sure, carry '{there['bundle']}' to the device, run 'python measure.py' in it, and repeat "
                    f"this command with --times {there['device']}=times.csv"
                )
            lines.append(line)
        return lines

    def _simulated(self) -> str:
        metrics = self.metrics
        seconds = metrics["simulated_seconds"]
        hours = "" if seconds is None else f", {significant(seconds / 3600, 4)} simulated hours"
        shown = {"params", "macs", *(constraint["key"] for constraint in metrics["constraints"])}
        values = {key: value for key, value in metrics.items() if key.startswith(("train_", "valid_", "test_"))}
        values |= {key: value for key, value in metrics["costs"].items() if key in shown}
        return "\n".join(
            [
                metrics["architecture"],
                f"simulated on table {metrics['table']}: {metrics['metric']} {significant(metrics['value'], 6)}, "
                f"regret {significant(metrics['regret'], 4)} (the best is {significant(metrics['optimum'], 6)})",
                ", ".join(f"{key} {significant(value, 6)}" for key, value in values.items() if value is not None),
                f"{metrics['trials']} trainings looked up{hours}, in {metrics['seconds']['total']:.1f} s",
                f"in {self.folder}: metrics.json, trials.csv (a simulation trains and exports no network)",
            ]
        )


def untrusted(details: Mapping[str, Any]) -> str:
    """Why a measurement is not to be trusted, in some words.

    >>> untrusted({"trusted": False, "slowed": 1.6})
    'the machine was slowed down 1.6 times by other work'
    """
    slowed = details.get("slowed", 1.0)
    if isinstance(slowed, int | float) and slowed > 1.05:
        return f"the machine was slowed down {slowed:.2g} times by other work"
    return "repeated measurements did not agree"
