"""Damaged and odd files of every format end in a sentence and an exit code: a short round of `python tests/fuzz.py`."""

import os
import subprocess
import sys
from pathlib import Path

import fuzz
import pytest

FUZZ = Path(__file__).with_name("fuzz.py")


@pytest.mark.slow
def test_no_file_brings_a_traceback_or_takes_more_than_its_share():
    """In a program of its own, without threads, which it forks for every try."""
    command = [sys.executable, FUZZ, "--tries", "1", "--odd", "4", "--seed", "8"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert done.stdout.count("\n") > 12


@pytest.mark.parametrize(
    ("code", "late", "memory", "said", "fault"),
    [
        (0, False, 500, "a table", ""),
        (1, False, 500, "labkit: a.nc: found nothing, expected a file; check the path.", ""),
        (2, False, 500, "usage: labkit", ""),
        (1, False, 500, "something", "exit code 1 without a sentence"),
        (99, False, 500, "Traceback (most recent call last):\nKeyError: 3", "KeyError: 3"),
        (
            1,
            False,
            500,
            "labkit: something that the lab did not foresee",
            "labkit: something that the lab did not foresee",
        ),
        (0, True, 500, "", "over 20 s"),
        (0, False, 5000, "", "5000 MB"),
        (4, False, 500, "", "exit code 4"),
    ],
)
def test_what_the_fuzz_takes_for_a_fault(code, late, memory, said, fault):
    assert fuzz.fault_of(code << 8, late, memory, said) == fault


def test_a_crash_is_a_fault():
    assert fuzz.fault_of(11, False, 500, "") == "signal 11"
