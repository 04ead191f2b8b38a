"""labkit: learn, look at, diagnose and study generative kilometre-scale weather models."""

import os

__version__ = "0.1.0"

# Else MKL's matrix products depend, in their last bits, on the number of threads and on where arrays lie in memory, and
# a resumed run is not the uninterrupted one. Read at MKL's first product: importing torch before is no harm.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
