"""How the page writes numbers: few digits, a unit, and the name and meaning of every cost."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from archscout.core.metric import Metric
from archscout.core.written import significant as significant

NARROW = "\u202f"
"""The narrow space between a number and its unit, at which no line breaks."""


@dataclass(frozen=True)
class CostName:
    """How a cost is called, and what it is, for somebody who has never met it."""

    title: str
    gloss: str
    unit: str = ""


COSTS = {
    "latency_ms": CostName("Latency", "time to answer for one input, measured (the median of many runs)", "ms"),
    "params": CostName("Parameters", "numbers that training sets; they are what the file of the network holds"),
    "macs": CostName("Multiply-adds", "multiplications, each with an addition, to answer for one input"),
    "peak_memory_bytes": CostName("Working memory", "the most that intermediate results take at one moment", "bytes"),
    "memory_traffic_bytes": CostName("Memory traffic", "bytes that operators read and write for one input", "bytes"),
    "weight_bytes": CostName("Weights", "bytes of the stored weights", "bytes"),
}
_ON_DEVICE = {
    "latency": CostName("Latency on {}", "time to answer on this device, predicted from networks measured there", "ms"),
    "energy": CostName("Energy on {}", "an estimate, from multiply-adds and memory traffic", "µJ"),
    "fit": CostName("Memory of {}", "share of the device's memory that the network takes in int8"),
}


def cost_name(key: str) -> CostName:
    """The name of a cost; one that is not known here is called as its key.

    >>> cost_name("latency@pixel3_ms").title
    'Latency on pixel3'
    >>> cost_name("latency_onnx_int8_ms").title, cost_name("peak_memory_int8_bytes").unit
    ('Latency, onnx int8', 'bytes')
    """
    kind, at, device = key.partition("@")
    if at and kind in _ON_DEVICE:
        name = _ON_DEVICE[kind]
        return replace(name, title=name.title.format(device.removesuffix("_ms").removesuffix("_uj")))
    for known, name in COSTS.items():  # in other numbers, on another runtime, of several examples
        stem, _, unit = known.rpartition("_")
        if stem and key != known and key.startswith(f"{stem}_") and key.endswith(f"_{unit}"):
            how = key.removeprefix(f"{stem}_").removesuffix(f"_{unit}").replace("_", " ")
            return replace(name, title=f"{name.title}, {how}")
    return COSTS.get(key) or CostName(key.replace("_", " ").capitalize(), f"the cost '{key}', lower is better")


def finite(value: Any) -> float | None:
    """The number, or None for whatever is no finite number (null, NaN, text, a truth value)."""
    if type(value) is float:  # most are: pages read hundreds of thousands of numbers
        return value if math.isfinite(value) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def cost_text(key: str, value: Any) -> str:
    """A cost with its unit; a dash where it is not known.

    >>> cost_text("latency_ms", 0.8412), cost_text("macs", 1234567), cost_text("peak_memory_bytes", 34000)
    ('0.841\u202fms', '1.23\u202fM', '34\u202fkB')
    """
    number = finite(value)
    if number is None:
        return "–"
    unit = cost_name(key).unit
    if key in ("params", "macs"):
        return big(number)
    if unit == "bytes":
        return size(number)
    return f"{significant(number)}{NARROW}{unit}" if unit else significant(number)


def big(value: float) -> str:
    """A count, in thousands, millions and so on.

    >>> big(950), big(12345), big(2.5e9)
    ('950', '12.3\u202fk', '2.5\u202fG')
    """
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor * 0.9995:
            return f"{significant(value / factor)}{NARROW}{prefix}"
    return significant(value)


def size(value: float) -> str:
    """Bytes, in powers of a thousand.

    >>> size(512), size(2_345_678)
    ('512\u202fB', '2.35\u202fMB')
    """
    text = big(value)
    return text + "B" if NARROW in text else f"{text}{NARROW}B"


def percent(share: Any, digits: int = 1) -> str:
    """A fraction in percent; a dash where it is not known.

    >>> percent(0.98612), percent(None)
    ('98.6\u202f%', '–')
    """
    number = finite(share)
    return "–" if number is None else f"{100 * number:.{digits}f}{NARROW}%"


def share(part: float) -> str:
    """A part of a whole, where a little must not read as nothing.

    >>> share(0.25), share(0.0002), share(0.0)
    ('25.0\u202f%', '< 0.1\u202f%', '0.0\u202f%')
    """
    return f"< 0.1{NARROW}%" if 0 < part < 0.0005 else percent(part)


def wilson(right: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share of which `right` of `total` were seen (Wilson 1927).

    >>> tuple(round(bound, 3) for bound in wilson(356, 360))
    (0.972, 0.996)
    """
    z = 1.959964
    middle = (right + z * z / 2) / (total + z * z)
    reach = z / (total + z * z) * math.sqrt(right * (total - right) / total + z * z / 4)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def duration(seconds: Any) -> str:
    """Seconds, in the unit that reads best.

    >>> duration(0.0123), duration(12.34), duration(291), duration(7500)
    ('12.3\u202fms', '12.3\u202fs', '4\u202fmin 51\u202fs', '2\u202fh 05\u202fmin')
    """
    number = finite(seconds)
    if number is None:
        return "–"
    if number < 0.9995:
        return f"{significant(1000 * number)}{NARROW}ms" if number else f"0{NARROW}s"
    if number < 99.95:
        return f"{significant(number)}{NARROW}s"
    whole = round(number)
    if whole < 3600:
        return f"{whole // 60}{NARROW}min {whole % 60:02d}{NARROW}s"
    return f"{whole // 3600}{NARROW}h {whole % 3600 // 60:02d}{NARROW}min"


def metric_text(metric: Metric, value: Any, digits: int = 1) -> str:
    """A measured value of a metric: parts of one in percent with so many decimals, others with three more digits."""
    number = finite(value)
    if number is None:
        return "–"
    if metric.percentage:
        return percent(number, digits)
    return significant(number, 3 + digits) + (f"{NARROW}{metric.unit}" if metric.unit else "")


def value_text(metric: Metric, value: Any, digits: int = 1) -> str:
    """The value of a trial, of which higher is better, as its metric was measured."""
    number = finite(value)
    return "–" if number is None else metric_text(metric, metric.oriented(number), digits)
