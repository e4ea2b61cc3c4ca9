"""A small table: 300 cells of NAS-Bench-201 with made-up accuracies, curves, seconds and scores."""

import numpy as np
import pytest

from archscout.core.registry import create
from archscout.estimators.encodings.live import live


@pytest.fixture(scope="session")
def small_table(tmp_path_factory):
    pa = pytest.importorskip("pyarrow", reason="tables need pyarrow")
    import json

    import pyarrow.parquet as pq

    from archscout.tables.parquet import KEY
    from archscout.tables.table import Table

    space, rng = create("space", "nasbench201"), np.random.default_rng(0)
    architectures = list(dict.fromkeys(space.sample(rng) for _ in range(310)))[:300]
    features = live(space, architectures)
    convolutions = features[:, 1] + features[:, 2]
    final = 0.9 - 0.3 * np.exp(-convolutions) + 0.01 * rng.normal(size=300)
    curve = final[:, None] * (1 - 0.5 ** np.arange(1, 9)) + 0.005 * rng.normal(size=(300, 8))
    curve[:, -1] = final
    metrics = {
        "valid": {"kind": "accuracy", "dataset": "made", "split": "valid", "epochs": 8},
        "valid_curve": {"kind": "accuracy", "dataset": "made", "split": "valid", "epochs": 8},
        "train_loss": {"kind": "loss", "dataset": "made", "split": "train", "epochs": 8},
        "seconds": {"kind": "seconds", "dataset": "made", "epochs": 8},
        "score": {"kind": "score"},
        "none": {"kind": "accuracy", "dataset": "other", "split": "valid"},
    }
    score = convolutions + rng.normal(size=300)
    score[:4] = np.nan
    columns = pa.table(
        {
            "architecture": [str(a) for a in architectures],
            "valid": final,
            "valid_curve": curve.tolist(),
            "train_loss": (1 - curve).tolist(),
            "seconds": 10 + 5 * convolutions,
            "score": score,
            "none": np.where(np.arange(300) < 5, 0.5, np.nan),
        }
    )
    about = {"format": 1, "name": "made", "space": "nasbench201", "task": "", "default": "valid", "source": "made up"}
    file = tmp_path_factory.mktemp("table") / "made.parquet"
    pq.write_table(columns.replace_schema_metadata({KEY: json.dumps(about | {"metrics": metrics})}), file)
    return Table.open(file)
