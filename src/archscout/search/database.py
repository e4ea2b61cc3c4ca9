"""The place where `archscout.store.database` was: importing this name gives that module."""

import sys

from archscout.store import database

sys.modules[__name__] = database
