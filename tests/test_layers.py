"""Who may import whom. An import that is not in the table is a fault of the design, not of this test."""

import ast
import re
import subprocess
import sys

from helpers import import_picture
from helpers.tables_and_fakes import ROOT

SOURCE = ROOT / "src" / "sparkctl"

# Word -> what it may import, beside itself. A stage never imports storage, models, the pipeline or another stage; models
# never import a stage.
MAY_IMPORT = {
    "errors": set(),
    "config": {"errors"},
    "method": {"errors"},
    "storage": {"errors", "method"},
    "training": {"errors", "config", "method"},
    "models": {"errors", "config", "method", "training"},
    "tools": {"errors", "config", "method", "storage"},
    "report": {"errors", "method", "storage"},
    "nano": {"errors", "method", "tools"},
    "stages": {"errors", "config", "method", "training", "tools", "nano"},
    "pipeline": {"errors", "config", "method", "storage", "training", "models", "tools", "report", "nano", "stages"},
    "cli": {"errors", "config", "method", "storage", "report", "pipeline"},
}
for _word, _may in MAY_IMPORT.items():
    _may.add(_word)
MAY_IMPORT["__main__"] = {"cli"}


def imports_of(path):
    """The layers of sparkctl that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("sparkctl"):
            parts = node.module.split(".")[1:]
            yield from parts[:1] or [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("sparkctl."))


def test_imports_go_one_way():
    wrong = []
    for path in SOURCE.rglob("*.py"):
        layer = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        if layer != "__init__":
            wrong += [f"{path.relative_to(SOURCE)} imports {i}" for i in imports_of(path) if i not in MAY_IMPORT[layer]]
    assert wrong == []


def test_the_table_of_layers_has_no_cycle():
    done = set()
    while len(done) < len(MAY_IMPORT):
        ready = {layer for layer, may in MAY_IMPORT.items() if layer not in done and may - {layer} <= done}
        assert ready, set(MAY_IMPORT) - done
        done |= ready


def test_no_file_imports_itself_by_a_detour():
    assert import_picture.circles(import_picture.arrows(SOURCE)) == []


def test_no_stage_imports_another():
    for path in (SOURCE / "stages").glob("*.py"):
        assert not re.search(r"from sparkctl\.stages(?!\.stage import)", path.read_text()), path.name


def test_help_is_fast_and_imports_nothing_heavy():
    code = "import sys, sparkctl.cli.main; print([m for m in ('torch','pyarrow','numpy','transformers','litellm','rich.progress') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_help_takes_less_than_300_ms():
    import time

    times = []
    for _ in range(5):
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-m", "sparkctl", "--help"], capture_output=True, check=True)
        times.append(time.perf_counter() - begun)
    assert min(times) < 0.3, times


def test_planning_loads_no_model_library():
    code = (
        "import sys; from sparkctl.config import recipe; from sparkctl.pipeline import plan; plan.nodes(recipe.load(recipe.default_folder()));"
        "print([m for m in ('torch','transformers','litellm','sympy','pint') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.strip() == "[]"
