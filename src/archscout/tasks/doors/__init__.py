"""Where data come in, one file a form; each lists what it finds, and decodes nothing (`contents.py`)."""
