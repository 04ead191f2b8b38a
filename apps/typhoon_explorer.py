"""Follow a typhoon through every member of a generative weather model's output.

python -m apps typhoon                 # the bundled typhoon
python -m apps typhoon FILE ...        # your own CorrDiff or labkit output

Best tracks (IBTrACS CSV, b-decks, RSMC Tokyo's text) and cases of your own (YAML) may stand among the files.
"""

import sys
from pathlib import Path

import panel as pn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from apps.parts.guard import admitted
from apps.storms.app import TyphoonExplorer, extension
from apps.storms.shelf import open_storm_library

extension()

if pn.state.served and admitted():
    library, shelf = pn.state.as_cached("storm-library", open_storm_library, files=tuple(sys.argv[1:]))
    explorer = TyphoonExplorer(library, shelf=shelf)
    explorer.share(pn.state.location)
    explorer.page().servable()
