"""The place where `archscout.store.store` was; programs that import it from here go on working."""

from archscout.store.store import Store as Store
from archscout.store.store import StoredTrial as StoredTrial
from archscout.store.store import run_lock as run_lock
