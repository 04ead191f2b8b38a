"""How things lie on disk: output trees, run folders, checkpoints and the list of runs offered to the apps."""
