"""What examples may be: images, audio, series. One file a medium, all of one form (`medium.py`)."""
