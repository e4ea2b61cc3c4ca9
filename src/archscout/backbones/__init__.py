"""Networks that come with weights, trained elsewhere on many images."""
