"""The spectra explorer: which scales a run has, how far its fields reach, and the patch that follows from it."""
