"""The tables of a store, alike in every database."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

SCHEMA_VERSION = 1

tables = sa.MetaData()
_row = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # only INTEGER is SQLite's own row number

meta = sa.Table(
    "archscout_meta",
    tables,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
runs = sa.Table(
    "archscout_runs",
    tables,
    sa.Column("id", _row, primary_key=True, autoincrement=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("config", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)


def _of_run(**options: Any) -> sa.Column[int]:
    return sa.Column("run", _row, sa.ForeignKey(runs.c.id, ondelete="CASCADE"), nullable=False, **options)


trials = sa.Table(
    "archscout_trials",
    tables,
    sa.Column("id", _row, primary_key=True, autoincrement=True),
    _of_run(),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("architecture", sa.Text, nullable=False),
    sa.Column("canonical", sa.Text, nullable=False),
    sa.Column("estimator", sa.Text, nullable=False),
    sa.Column("fidelity", sa.BigInteger),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("value", sa.Double),  # NULL is NaN, here and in seconds
    sa.Column("costs", sa.Text, nullable=False),
    sa.Column("seconds", sa.Double),
    sa.Column("std", sa.Text, nullable=False),  # JSON: no uncertainty (null) is not an undefined one (NaN)
    sa.Column("curve", sa.Text, nullable=False),
    sa.Column("phase", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("extra", sa.Text, nullable=False),
    sa.UniqueConstraint("run", "key"),
)
costs = sa.Table(
    "archscout_costs",
    tables,
    _of_run(primary_key=True),
    sa.Column("canonical", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Double),
    sa.Column("spread", sa.Double),
    sa.Column("details", sa.Text, nullable=False),
)
decisions = sa.Table(
    "archscout_decisions",
    tables,
    _of_run(primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
notes = sa.Table(
    "archscout_notes",
    tables,
    _of_run(primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
spent = sa.Table(
    "archscout_spent",
    tables,
    _of_run(primary_key=True),
    sa.Column("phase", sa.Text, primary_key=True),
    sa.Column("seconds", sa.Double, nullable=False),
)
leases = sa.Table(
    "archscout_leases",
    tables,
    _of_run(primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("process", sa.BigInteger, nullable=False),
    sa.Column("beat", sa.Double, nullable=False),
)
"""Who writes to a run; made when the first one does, so that a store of an earlier version stays readable by it."""
