"""Errors that say what was found, what was expected and what to do."""

from functools import partial


class LabError(Exception):
    """A mistake that a person can mend; the terminal and the apps show its one sentence, without a traceback.

    >>> raise LabError("training data", found="2 channels", expected="4 channels", todo="choose another file")
    Traceback (most recent call last):
    labkit.errors.LabError: training data: found 2 channels, expected 4 channels; choose another file.
    """

    def __init__(self, what: str, *, found: str, expected: str, todo: str) -> None:
        self.what, self.found, self.expected, self.todo = what, found, expected, todo
        super().__init__(f"{what}: found {found}, expected {expected}; {todo.rstrip('.')}.")

    def __reduce__(self):
        # Workers in other processes send their errors back; the default would call the class without its keywords.
        return partial(type(self), found=self.found, expected=self.expected, todo=self.todo), (self.what,)


class DataError(LabError):
    """Input data or an output tree that does not fit its contract."""


class ConfigError(LabError):
    """A configuration value or override that is unknown or out of range."""


class CheckpointError(LabError):
    """A checkpoint that is damaged or belongs to another model or data set."""


class OutOfSpace(LabError):
    """A disk without room for what was to be written."""


class Cancelled(Exception):
    """Raised inside a long job when its `cancel` callback says so; what was finished is kept."""
