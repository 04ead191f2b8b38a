"""Tracks of cyclones: best tracks of the centres, and those of trackers, in one table."""
