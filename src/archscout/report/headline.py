"""The top of the page: the winner in one line, a card for each thing that it costs, and how sure its accuracy is."""

from __future__ import annotations

from typing import Any

from archscout.core.metric import ACCURACY
from archscout.report.quantities import (
    NARROW,
    cost_name,
    cost_text,
    duration,
    finite,
    metric_text,
    percent,
    wilson,
)
from archscout.report.view import View
from archscout.search.result import untrusted


def headline(view: View) -> dict[str, Any]:
    """The winner in one line, and one card for each thing that it costs."""
    report, winner, metric = view.report, view.winner, view.metric
    tested, valid = finite(winner.get(f"test_{metric}")), finite(winner.get(f"valid_{metric}"))
    if not winner:
        title = "No network was found"
    elif tested is not None:
        title = f"{metric_text(metric, tested)} right on data it had never seen"
        title = (
            title
            if str(metric) == str(ACCURACY)
            else f"A {metric.title} of {metric_text(metric, tested)} on data it had never seen"
        )
    else:
        title = f"{_capital(metric.title)} {metric_text(metric, valid)} on the validation data"
    seen = finite(report.get("scored")) or len({trial.canonical for trial in view.trials})
    spent = finite((report.get("seconds") or {}).get("total"))
    lead = f"A network for {report.get('task', 'this task')}"
    lead += f", found in {duration(spent)}" if spent is not None else ""
    lead += f" among {seen:,.0f} candidates" if seen and seen > 1 else ""
    lead += f" of the space {report.get('space')}" if report.get("space") else ""
    lead += f" by the method {report.get('method')}." if report.get("method") not in (None, "train") else "."
    return {"title": title, "lead": lead, "cards": _cards(view), "kept": _kept(view), "interval": _interval(view)}


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _cards(view: View) -> list[dict[str, Any]]:
    report = view.report
    costs, spread = view.winner.get("costs") or {}, view.winner.get("spread") or {}
    order = ["latency_ms", "params", "macs", "peak_memory_bytes", *sorted(costs)]
    cards = []
    for key in dict.fromkeys(key for key in order if finite(costs.get(key)) is not None):
        limit, value = view.limits.get(key), float(costs[key])
        name, wobble = cost_name(key), finite(spread.get(key))
        about = (report.get("devices") or {}).get(key) or {"at_hand": True}
        said = "repeats differ by {}" if about.get("at_hand") else "its 90 % interval reaches {} further up"
        gloss = name.gloss + (f"; {said.format(percent(wobble))}" if wobble else "")
        details = (view.winner.get("cost_details") or {}).get(key) or {}
        if not details.get("trusted", True):
            gloss += f"; not to be trusted: {untrusted(details)}"
        card: dict[str, Any] = {"title": name.title, "value": cost_text(key, value), "gloss": gloss, "limit": None}
        if limit is not None:
            card["limit"] = {
                "text": f"{percent(value / limit, 0)} of the limit of {cost_text(key, limit)}",
                "used": min(1.0, value / limit),
                "kept": value <= limit,
            }
        cards.append(card)
    return cards


def _kept(view: View) -> str:
    """One sentence on the limits."""
    costs, limits = view.winner.get("costs") or {}, view.limits
    if not view.winner or not limits:
        return ""
    values = {key: finite(costs.get(key)) for key in limits}
    unknown = [cost_name(key).title.lower() for key, value in values.items() if value is None]
    broken = [
        cost_name(key).title.lower() for key, value in values.items() if value is not None and value > limits[key]
    ]
    if broken:
        return f"It does not keep the limit on {', '.join(broken)}."
    if unknown:
        return f"Whether it keeps the limit on {', '.join(unknown)} was not measured."
    texts = [f"{cost_name(key).title.lower()} at most {cost_text(key, limit)}" for key, limit in limits.items()]
    return f"It keeps {'the limit' if len(texts) == 1 else 'every limit'} given: {', '.join(texts)}."


def _interval(view: View) -> str:
    """How sure the test accuracy is, from the number of examples."""
    right, total = view.right
    tested = finite(view.winner.get(f"test_{view.metric}"))
    if not total or tested is None or str(view.metric) != str(ACCURACY) or abs(right / total - tested) > 5e-4:
        return ""
    low, high = wilson(right, total)
    return (
        f"{right:,} of {total:,} test examples are right. With so many examples, the accuracy on endlessly many would "
        f"lie between {percent(low)} and {percent(high)} (a 95{NARROW}% interval)."
    )
