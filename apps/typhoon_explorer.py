"""Follow a typhoon through every member of a generative weather model's output.

panel serve apps/typhoon_explorer.py                 # the bundled typhoon
panel serve apps/typhoon_explorer.py --args FILE ... # your own CorrDiff or labkit output
"""

import sys
from pathlib import Path

import panel as pn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from apps.parts.library import open_library
from apps.storms.app import TyphoonExplorer, extension

extension()

if pn.state.served:
    explorer = TyphoonExplorer(pn.state.as_cached("storm-library", open_library, files=tuple(sys.argv[1:])))
    explorer.share(pn.state.location)
    explorer.page().servable()
