"""Mixed precision: bits of weights and activations, layer by layer; one file a family of methods over one problem."""
