"""Serve an explorer to this machine's browser: `python -m apps explore|spectra|typhoon [FILE ...]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from panel.command import main as panel_command

from apps.parts.guard import LOCAL, guard
from labkit.cli.told import add_told

APPS = {"explore": "ensemble_explorer", "spectra": "spectra_explorer", "typhoon": "typhoon_explorer"}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.address not in LOCAL and not options.allow_origin:
        parser.error(
            "others may come to this address only with --allow-origin, the name in their browser's address bar"
        )
    guard()
    sys.argv = panel_arguments(options)  # Panel's command reads nothing else
    panel_command()


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m apps", description=__doc__)
    parser.add_argument("app", choices=APPS, help="members, scales or storms")
    parser.add_argument("files", nargs="*", help="what to open: output trees, run folders; by default what is bundled")
    parser.add_argument("--port", type=int, default=5006)
    parser.add_argument("--address", default=LOCAL[1], help="to listen on; 127.0.0.1, this machine only, by default")
    allow = {"action": "append", "default": [], "metavar": "HOST[:PORT]"}
    parser.add_argument("--allow-origin", **allow, help="under which other name browsers may come; see docs/serving.md")
    parser.add_argument("--prefix", default="", help="path below which a proxy offers it, such as /lab")
    parser.add_argument("--show", action="store_true", help="open a browser")
    add_told(parser)
    return parser


def panel_arguments(options: argparse.Namespace) -> list[str]:
    """The same as Panel's own command takes it."""
    path = Path(__file__).with_name(f"{APPS[options.app]}.py")
    command = ["panel", "serve", str(path), "--address", options.address, "--port", str(options.port)]
    for origin in options.allow_origin or [f"{name}:{options.port}" for name in LOCAL]:
        command += ["--allow-websocket-origin", origin]
    command += ["--prefix", options.prefix] if options.prefix else []
    command += ["--show"] if options.show else []
    words = [f"--units={name}={unit}" for name, unit in options.units]
    if options.spacing_km:
        words.append(f"--spacing-km={','.join(map(str, np.atleast_1d(options.spacing_km)))}")
    return command + (["--args", *options.files, *words] if options.files else [])


if __name__ == "__main__":
    main()
