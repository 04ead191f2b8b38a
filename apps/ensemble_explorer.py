"""Walk through the members of a generative weather model's output.

panel serve apps/ensemble_explorer.py                 # the bundled run
panel serve apps/ensemble_explorer.py --args FILE ... # your own CorrDiff or labkit output
"""

import sys
from pathlib import Path

import panel as pn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from apps.explorer.app import Explorer, extension
from apps.parts.library import open_library

extension()

if pn.state.served:
    explorer = Explorer(pn.state.as_cached("explorer-library", open_library, files=tuple(sys.argv[1:])))
    explorer.share(pn.state.location)
    explorer.page().servable()
