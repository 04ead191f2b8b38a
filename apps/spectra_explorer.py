"""Which scales a run has, how far its fields reach, and the patch size that follows.

panel serve apps/spectra_explorer.py                 # the bundled run
panel serve apps/spectra_explorer.py --args FILE ... # your own CorrDiff or labkit output
"""

import sys
from pathlib import Path

import panel as pn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from apps.explorer.library import open_library
from apps.spectra.app import SpectraExplorer, extension

extension()

if pn.state.served:
    explorer = SpectraExplorer(pn.state.as_cached("explorer-library", open_library, files=tuple(sys.argv[1:])))
    explorer.share(pn.state.location)
    explorer.page().servable()
