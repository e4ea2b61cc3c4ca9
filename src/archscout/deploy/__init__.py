"""What is shipped: the form that a network takes once it is trained."""
