"""The house rules: one set of dependencies, imports that point down, no stray addresses, short explained modules."""

from __future__ import annotations

import ast
import json
import re
import socket
import statistics
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted((ROOT / "labkit").rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Where conda-forge calls a package by another name.
CONDA_NAMES = {"torch": "pytorch", "playwright": "playwright-python"}

# The design's rooms: what of labkit each may import. Every room may raise labkit.errors.
GROUND = {"errors", "border", "config", "variables", "sphere", "winds", "units", "projections", "grid"}
PARTS = GROUND | {"tiling", "store", "data", "verify", "models", "diffusion"}
ROOMS = {
    "errors": set(),
    "border": {"errors"},
    "config": {"errors", "border"},
    "variables": set(),
    "sphere": set(),
    "units": {"errors", "variables"},
    "projections": {"units"},
    "grid": {"errors", "sphere", "units", "projections"},
    "winds": {"errors"},
    "tiling": {"errors"},
    "store": GROUND,
    "data": GROUND | {"store"},
    "verify": GROUND | {"tiling"},
    "models": {"errors"},
    "diffusion": {"errors", "tiling"},
    "interrupts": set(),
    "training": PARTS | {"interrupts"},
    "sampling": PARTS | {"training"},
    "recipes": PARTS | {"training", "sampling"},
    "plots": GROUND | {"verify"},
    "cli": PARTS | {"training", "sampling", "recipes", "plots"},
}
FORBIDDEN_IMPORTS = {"panel", "IPython", "ipywidgets", "geoviews", "pickle", "dill", "cloudpickle", "joblib", "shelve"}


def room(path: Path) -> str:
    """First part of a module's name below labkit ("" for the package itself)."""
    return path.relative_to(ROOT / "labkit").with_suffix("").parts[0].replace("__init__", "")


def imports(tree: ast.AST, package: str) -> set[str]:
    """Absolute dotted names that a module imports anywhere, also inside functions; `package` resolves relative ones."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package
            base = ".".join(filter(None, (above if node.level else "", node.module)))
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def module_imports(path: Path) -> set[str]:
    return imports(ast.parse(path.read_text()), ".".join(path.relative_to(ROOT).parent.parts))


def rooms_imported(path: Path) -> set[str]:
    names = {name.split(".")[1] for name in module_imports(path) if name.startswith("labkit.")}
    return {name for name in names if not name.startswith("__")}


def tracked_files() -> list[Path]:
    """The files under version control; in a copy without it, all but what tools leave behind."""
    answer = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=False)
    if answer.returncode == 0 and answer.stdout:
        return [path for name in answer.stdout.split("\0") if name and (path := ROOT / name).is_file()]
    left = {".git", ".venv", "build", "dist", "__pycache__", ".pytest_cache", ".ruff_cache"}
    return [path for path in ROOT.rglob("*") if path.is_file() and not left & set(path.relative_to(ROOT).parts)]


def text_of(path: Path) -> str | None:
    """The text of a file, None of a binary one."""
    raw = path.read_bytes()
    return None if b"\0" in raw else raw.decode(errors="replace")


def requirements(*extras: str) -> dict[str, Requirement]:
    listed = PROJECT["dependencies"] + [r for extra in extras for r in PROJECT["optional-dependencies"][extra]]
    return {canonicalize_name(r.name): r for r in map(Requirement, listed)}


def constraints() -> dict[str, str]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def test_conda_environment_asks_for_the_same_packages_and_versions_as_pyproject():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    conda = {r.name: str(r.specifier) for r in map(Requirement, (entry for entry in listed if isinstance(entry, str)))}
    assert conda.pop("python") == PROJECT["requires-python"]
    assert conda.pop("pip") == ""
    pip = {CONDA_NAMES.get(name, name): str(r.specifier) for name, r in requirements("test").items()}
    assert conda == pip
    assert [entry for entry in listed if isinstance(entry, dict)] == [{"pip": ["-e ."]}]


def test_constraints_pin_every_dependency_within_its_bounds():
    pins = constraints()
    for name, requirement in requirements(*PROJECT["optional-dependencies"]).items():
        assert name in pins, f"constraints.txt does not pin {name}"
        assert requirement.specifier.contains(pins[name]), f"{name}=={pins[name]} is outside {requirement}"


def test_constraints_are_plain_public_versions():
    assert constraints()["torch"] == "2.13.0"
    assert all(Version(version).local is None for version in constraints().values())


def test_python_versions_agree():
    assert PROJECT["requires-python"] == ">=3.11"
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"][0] == "3.11"


def test_every_module_has_a_room():
    assert {room(path) for path in MODULES} - {""} <= set(ROOMS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_only_point_down(path):
    below = ROOMS[room(path)] | {room(path)} if room(path) else set()
    assert rooms_imported(path) <= below


def test_rooms_form_a_ladder():
    order = list(ROOMS)
    for name, below in ROOMS.items():
        assert all(order.index(other) < order.index(name) for other in below), name


@pytest.mark.parametrize("app", ["parts", "explorer", "spectra", "storms"])
def test_apps_share_their_parts_and_nothing_else(app):
    allowed = {"apps.parts", f"apps.{app}"}
    for path in (ROOT / "apps" / app).glob("*.py"):
        names = imports(ast.parse(path.read_text()), f"apps.{app}")
        found = {".".join(name.split(".")[:2]) for name in names if name.startswith("apps")}
        assert found <= allowed, path.name


def test_import_finder_sees_every_form():
    source = "import a.b\nfrom . import c\nfrom ..d import e\ndef f():\n    from labkit.cli import main\n"
    assert imports(ast.parse(source), "labkit.data") == {"a.b", "labkit.data.c", "labkit.d.e", "labkit.cli.main"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_labkit_imports_no_gui_and_no_pickle(path):
    tops = {name.split(".")[0] for name in module_imports(path)}
    assert not tops & FORBIDDEN_IMPORTS
    assert "torch" not in tops or room(path) not in {"verify", "variables", "errors", "plots"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_unpickled(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"torch.load", "torch.save", "eval", "exec", "yaml.load", "yaml.unsafe_load"}, called
            refused = [k for k in node.keywords if k.arg == "allow_pickle" and ast.unparse(k.value) != "False"]
            assert not refused, "allow_pickle must be False"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_are_short_and_explained(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    tree = ast.parse(text)
    assert ast.get_docstring(tree) or not tree.body, "a module says what it is for"
    defined = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    bare = [node.name for node in defined if not node.name.startswith("_") and not ast.get_docstring(node)]
    assert not bare, f"without a docstring: {', '.join(bare)}"


def test_functions_are_short():
    lengths = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                said = ast.get_docstring(node, clean=False)
                lengths.append(node.end_lineno - node.lineno + 1 - (len(said.splitlines()) if said else 0))
    assert statistics.median(lengths) < 12


# Built from pieces, so that this file does not name what it forbids.
STRAY = [
    *(rf"{host}\.{top}" for host, top in (("pypi", "org"), ("pythonhosted", "org"), ("pytorch", "org/whl"))),
    *(
        rf"{host}\.{top}"
        for host, top in (("anaconda", "org"), ("npmjs", "org"), ("jsdelivr", "net"), ("unpkg", "com"))
    ),
    r"(?:^|[\s\"'(=:`])/" + r"(?:work|tmp/w|opt/wheels|opt/pypi)\b",
    r"\.\./" + r"shared\b",
]


def strays(text: str) -> list[str]:
    return [match.group(0) for pattern in STRAY for match in re.finditer(pattern, text, re.MULTILINE)]


def test_stray_finder_sees_hosts_and_paths():
    assert strays("pip install -i https://" + "pypi" + ".org/simple") == ["pypi" + ".org"]
    assert len(strays('open("/' + 'work/main/x") and ../' + "shared/data")) == 2
    assert strays("homework/a, frame/work/b, /workshop") == []


def test_no_file_names_a_package_host_or_a_path_of_one_machine():
    found = {
        str(path.relative_to(ROOT)): hits
        for path in tracked_files()
        if (text := text_of(path)) is not None and (hits := strays(text))
    }
    assert not found


def test_make_lists_its_commands():
    answer = subprocess.run(
        ["make", "-C", str(ROOT), "--no-print-directory"], capture_output=True, text=True, check=True
    )
    listed = re.findall(r"^  make (\w+)", answer.stdout, re.MULTILINE)
    assert listed == ["help", "explore", "test", "lab", "notebooks", "bundled", "lint", "format", "clean"]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("explore", "-m apps explore --port 5123"),
        ("test", "-m pytest"),
        ("lab", "jupyterlab notebooks"),
        ("notebooks", "tests/run_notebooks.py"),
    ],
)
def test_make_targets_run_what_they_say(target, expected):
    command = ["make", "-C", str(ROOT), "-n", target, "VENV=absent", "PORT=5123"]
    plan = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert expected in plan
    assert "pip install" in plan and plan.index("-c constraints.txt") < plan.index(expected)


def test_make_names_the_python_it_lacks():
    command = ["make", "-C", str(ROOT), "explore", "VENV=absent", "PYTHON=no-such-python"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode != 0
    assert "no-such-python is not a Python 3.11 or newer" in answer.stderr
    assert not (ROOT / "absent").exists()


def notebooks() -> list[Path]:
    return [path for path in tracked_files() if path.suffix == ".ipynb"]


def test_notebooks_are_stored_without_results():
    for path in notebooks():
        cells = json.loads(path.read_text())["cells"]
        stale = [n for n, cell in enumerate(cells) if cell.get("outputs") or cell.get("execution_count")]
        assert not stale, f"{path.name}: cells {stale} hold results; clear them before committing"


def test_notebook_cells_are_at_most_fifteen_lines():
    for path in notebooks():
        code = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
        long = [n for n, cell in enumerate(code) if len("".join(cell["source"]).splitlines()) > 15]
        assert not long, f"{path.name}: code cells {long} are longer than fifteen lines"


@pytest.mark.offline
def test_tests_cannot_leave_this_machine(network_attempts):
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
    with pytest.raises(ConnectionRefusedError):
        socket.getaddrinfo("example.org", 443)
    assert network_attempts == ["192.0.2.1:80", "example.org:443"]


def test_tests_may_talk_to_this_machine(network_attempts):
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=5).close()
    assert network_attempts == []
