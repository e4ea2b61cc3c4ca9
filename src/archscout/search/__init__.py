"""The run: engine, store, budget, resume, final training, export."""
