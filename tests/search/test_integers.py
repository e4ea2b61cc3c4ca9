"""Whole searches whose networks end in integers, under limits of integers."""

from pathlib import Path

import pytest

import archscout
from archscout.testing.tasks import tiny_task


@pytest.mark.slow
def test_the_winner_keeps_a_limit_of_its_integers_and_the_page_says_so(tmp_path: Path) -> None:
    task, limit = tiny_task((3, 12, 12)), 20.0
    result = archscout.search(
        "nasbench201:width=4,cells=1", task, method="random", maximum={"latency@int8": limit, "weight_bytes": "20kB"},
        budget="2 trials", epochs=2, workers=0, name="integers", out=tmp_path, device="cortex-m4",
    )  # fmt: skip
    assert 0 < result.metrics["costs"]["latency_onnx_int8_ms"] <= limit
    assert "quantised" not in result.metrics
    assert result.metrics["microcontroller"] == "cortex-m4"
    assert {limit["name"] for limit in result.metrics["constraints"]} >= {"flash", "sram"}
    result = archscout.quantise(result.folder, task)
    quantised, page = result.metrics["quantised"], (result.folder / "report.html").read_text()
    assert (result.folder / quantised["file"]).is_file()
    assert "latency_onnx_int8_ms" in page
    for _ in range(2):
        assert page.count("bits of weights, of activations") == 1
        page = (archscout.quantise(result.folder, task, weight_bits=4).folder / "report.html").read_text()
    assert "4, 8" in page
