"""Walk through the members of a generative weather model's output.

python -m apps explore                 # the bundled run
python -m apps explore FILE ...        # your own CorrDiff or labkit output
"""

import sys
from pathlib import Path

import panel as pn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from apps.explorer.app import Explorer, extension
from apps.parts.guard import admitted
from apps.parts.library import open_library

extension()

if pn.state.served and admitted():
    explorer = Explorer(pn.state.as_cached("explorer-library", open_library, files=tuple(sys.argv[1:])))
    explorer.share(pn.state.location)
    explorer.page().servable()
