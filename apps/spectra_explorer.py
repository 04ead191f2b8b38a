"""Which scales a run has, how far its fields reach, and the patch size that follows.

python -m apps spectra                 # the bundled run, and the data sets that are here
python -m apps spectra FILE ...        # your own CorrDiff or labkit output, or HRRR-Mini files
"""

import sys
from pathlib import Path

import panel as pn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from apps.parts.guard import admitted
from apps.spectra.app import SpectraExplorer, extension
from apps.spectra.data_sets import open_spectra_library

extension()

if pn.state.served and admitted():
    explorer = SpectraExplorer(pn.state.as_cached("spectra-library", open_spectra_library, files=tuple(sys.argv[1:])))
    explorer.share(pn.state.location)
    explorer.page().servable()
