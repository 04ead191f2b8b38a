"""Every lesson runs from top to bottom in its short setting, in a fresh kernel."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
import run_notebooks
from nbclient.exceptions import CellExecutionError

# A lesson takes under two minutes on two free cores; a busy machine gets some grace.
LIMIT_S = 600  # a hang, not a speed: machines are noisy


@pytest.mark.slow
@pytest.mark.parametrize("path", run_notebooks.all_notebooks(), ids=lambda path: path.stem)
def test_lesson_runs(path):
    assert run_notebooks.execute(path, fast=True, timeout_s=LIMIT_S) < LIMIT_S


def written(folder: Path, *cells: str) -> Path:
    """A notebook with those code cells."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    nbformat.write(notebook, folder / "lesson.ipynb")
    return folder / "lesson.ipynb"


def test_the_runner_notices_a_failing_cell_and_leaves_the_results_before_it(tmp_path):
    path = written(tmp_path, "import os; print('short' if os.environ.get('LABKIT_FAST') else 'full')", "1 / 0")
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        run_notebooks.execute(path, fast=True, timeout_s=60, output=tmp_path / "out")
    first = nbformat.read(tmp_path / "out" / "lesson.ipynb", as_version=4).cells[0]
    assert first.outputs[0].text == "short\n"


def test_the_runner_counts_failures_and_runs_in_full_by_default(tmp_path, capsys):
    path = written(tmp_path, "import os; assert 'LABKIT_FAST' not in os.environ")
    assert run_notebooks.main([str(path)]) == 0
    assert run_notebooks.main(["--fast", str(path)]) == 1
    assert "lesson.ipynb: failed" in capsys.readouterr().err
