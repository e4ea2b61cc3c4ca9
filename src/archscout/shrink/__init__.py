"""A trained network for the user's data and limits: transfer, cut by measured harm and cost, recover."""
