"""labkit: learn, look at, diagnose and study generative kilometre-scale weather models."""

__version__ = "0.1.0"
