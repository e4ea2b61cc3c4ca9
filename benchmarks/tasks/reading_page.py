"""What `reading.py` measured, as a part of the page that `kinds_page.py` writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.common import read_result
from benchmarks.tasks.reading import FILE

Row = dict[str, Any]


def small(row: Row) -> str:
    return (
        f"- {row['images']:,} JPEGs of 32 x 32 ({row['of']}) are decoded into the cache at {row['cache_share']:.0%} of "
        f"the speed of Pillow alone ({row['images'] / row['cache_seconds']:,.0f} a second), into memory at "
        f"{row['memory_share']:.0%}."
    )


def photographs(row: Row) -> str:
    return (
        f"- {row['images']} photographs of 12 megapixels are brought to 64 x 64 {row['memory_share']:.1f} times as "
        "fast as by decoding them whole."
    )


def epoch(row: Row) -> str:
    same = "the same weights to the bit" if row["same_bits"] else "other weights"
    return (
        f"- An epoch of {row['images']:,} images from the disk takes {row['cache_ratio']:.2f} times what one from "
        f"memory takes, and ends in {same}."
    )


def memory(row: Row) -> str:
    pixels, own = (row[key] / 2**20 for key in ("pixel_bytes", "own_bytes"))
    return (
        f"- While {row['images']:,} pictures of 64 x 64 ({pixels:.0f} MB of pixels) are read from a folder into the "
        f"cache and trained on from there, a process takes {own:.0f} MB of its own more than for a hundred."
    )


SENTENCES: dict[str, Callable[[Row], str]] = {
    "small": small, "photographs": photographs, "epoch": epoch, "memory": memory,
}  # fmt: skip


def of_reading() -> list[str]:
    rows = read_result(FILE).get("rows", [])
    if not rows:
        return []
    return [
        "## Reading pictures",
        "",
        "Processor seconds on one core, all ways by turns in one run (`python -m benchmarks.tasks.reading`).",
        "",
        *(SENTENCES[what](row) for what in SENTENCES for row in rows if row["what"] == what),
        "",
    ]
