"""What a run keeps: the database of its trials, and the lock that keeps a second run out."""
