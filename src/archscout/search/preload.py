"""Imported once by the process that worker processes are forked from, so that a worker starts with torch at hand.

Nothing else imports this module: it changes the process it is imported in.
"""

import os

from archscout.search.worker import quiet

quiet()
for library in ("OMP", "OPENBLAS", "MKL"):  # their threads would not survive the fork
    os.environ[f"{library}_NUM_THREADS"] = "1"

import torch  # noqa: E402, F401 - after the limits, which are read when it is loaded
