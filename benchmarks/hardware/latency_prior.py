"""Fit the coefficients that the package ships for devices with published latencies.

    python -m benchmarks.hardware.latency_prior --data ../shared/data

Reads nasbench201/latency_ms.parquet, nasbench201/accuracy.parquet (for the text of each cell) and
fbnet/latency_ms_and_zc.parquet, and writes src/archscout/costs/models/data/{nasbench201,fbnet}.npz: for each device the
weights of `archscout.costs.models.prior.learn`, in single precision; no latency of any architecture is in them.
"""

from __future__ import annotations

from pathlib import Path

from archscout.costs.models.base import Measured
from archscout.costs.models.prior import learn, save
from benchmarks.common import ROOT, arguments
from benchmarks.hardware.latency_tables import TABLES, table

OUT = ROOT / "src/archscout/costs/models/data"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder of published tables")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    for name in TABLES:
        space, architectures, latencies = table(name, options.data)
        known = [Measured(device, architectures, ms) for device, ms in sorted(latencies.items())]
        prior = learn(space, known, dead_operations=True)
        save(prior, options.out / f"{name}.npz")
        print(f"{name}: {len(known)} devices, {len(architectures)} architectures")
        for number, device in enumerate(prior.devices):
            errors = ", ".join(f"{group} {g.errors[number]:.3f}" for group, g in prior.groups.items())
            print(f"  {device}: mean {prior.mean_ms[number]:.2f} ms, relative error {errors}")


if __name__ == "__main__":
    main()
