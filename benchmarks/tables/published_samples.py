"""Cut small samples out of published tables whose licences allow it, for tests that run everywhere.

    python -m benchmarks.tables.published_samples --data FOLDER

FOLDER has the whole tables. Writes tests/data/published, with the files in the same places; columns of sources without
a licence are empty where a reader needs them and left out elsewhere. See the README there for sources and licences.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from archscout.core.seeds import stream
from benchmarks.common import arguments

ROWS = 300
_SOURCELESS = ("c10_test_200", "c100_test_200_b", "in16_test_200_b", "iso_class", "params_M_c10", "naswot_score_c10")


def keep(table: pa.Table, rows: Iterable[int], file: Path) -> None:
    """Write some rows of a table, in their order."""
    file.parent.mkdir(parents=True, exist_ok=True)
    chosen = table.take(pa.array(sorted(rows)))
    pq.write_table(chosen.replace_schema_metadata(None), file, compression="zstd", compression_level=19)


def drawn(count: int, most: int, *key: str) -> list[int]:
    """Row numbers, without repeats."""
    return sorted(int(row) for row in stream(0, "published sample", *key).permutation(count)[:most])


def nasbench201(data: Path, out: Path) -> None:
    """Cells for which all scores were published, so that every column has values."""
    scores = pq.read_table(data / "nasbench201/zero_cost.parquet")
    known = scores.filter(pc.and_(pc.equal(scores["dataset"], "cifar10"), pc.is_finite(scores["params"])))["index"]
    cells = sorted(known.to_pylist())
    cells = [cells[row] for row in drawn(len(cells), ROWS, "nasbench201")]
    wanted = pa.array(cells)
    accuracy = pq.read_table(data / "nasbench201/accuracy.parquet")
    dropped = [name for name in _SOURCELESS if name in accuracy.column_names and name != "c10_test_200"]
    accuracy = accuracy.drop_columns(dropped)
    empty = pa.array(np.full(len(accuracy), np.nan, np.float32))
    accuracy = accuracy.set_column(accuracy.column_names.index("c10_test_200"), "c10_test_200", empty)
    for name, table in (
        ("accuracy", accuracy),
        ("zero_cost", scores),
        ("latency_ms", pq.read_table(data / "nasbench201/latency_ms.parquet")),
    ):
        rows = np.flatnonzero(pc.is_in(table["index"], wanted).to_numpy(zero_copy_only=False))
        keep(table, rows.tolist(), out / f"nasbench201/{name}.parquet")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("tests/data/published"))
    options = parser.parse_args()
    readme = (options.out / "README.md").read_bytes() if (options.out / "README.md").is_file() else b""
    shutil.rmtree(options.out, ignore_errors=True)
    nasbench201(options.data, options.out)
    for file, rows in (
        ("nasbench101/ec_nas_energy.parquet", 300),
        ("nasbench_macro/cifar10.parquet", 400),
        ("darts/nasbench301_zero_cost.parquet", 200),
        ("enas_dvae/enas6_weight_sharing.parquet", 400),
    ):
        table = pq.read_table(options.data / file)
        keep(table, drawn(len(table), rows, file), options.out / file)
    graphs = pq.read_table(options.data / "nasbench_graph/nasbench_graph.parquet")
    links = [f"{link}:{ops}" for link, ops in zip(graphs["link"].to_pylist(), graphs["ops"].to_pylist(), strict=True)]
    forms = sorted(set(links))
    chosen = {forms[row] for row in drawn(len(forms), 60, "graph")}
    rows = [row for row, link in enumerate(links) if link in chosen]
    keep(graphs, rows, options.out / "nasbench_graph/nasbench_graph.parquet")
    recipes = pq.read_table(options.data / "nasbench_nlp/wikitext2_curves.parquet")
    rows = [0, 1, 2, *(row for row in drawn(len(recipes), 12, "nlp") if row > 2)]
    keep(recipes, rows, options.out / "nasbench_nlp/wikitext2_curves.parquet")
    fbnet = pq.read_table(options.data / "fbnet/latency_ms_and_zc.parquet")
    fbnet = fbnet.select([name for name in fbnet.column_names if name == "arch" or name.startswith("lat_ms_")])
    keep(fbnet, range(200), options.out / "fbnet/latency_ms_and_zc.parquet")
    if readme:
        (options.out / "README.md").write_bytes(readme)
    sizes = {str(file.relative_to(options.out)): file.stat().st_size for file in sorted(options.out.rglob("*.parquet"))}
    print(*(f"{size:>8,} {name}" for name, size in sizes.items()), f"{sum(sizes.values()):>8,} in all", sep="\n")


if __name__ == "__main__":
    main()
