"""What a network is for: data, input shape, head, loss and metric. `load.load` gives a task by name or path."""
