"""What is made of a finished run: its network in integers, and as C code for a microcontroller."""
