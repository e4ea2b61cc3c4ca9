"""How people meet Archscout in a terminal: one file a command."""
