"""Who may import whom. An import that is not in the table is a fault of the design, not of this test."""

import ast
import subprocess
import sys

from support import ROOT

SOURCE = ROOT / "src" / "sparkctl"

# Layer -> what it may import. A stage never imports the store, a back end, the command line or another stage; a back
# end never imports a stage.
LOW = {"errors", "ids", "masking", "names", "plain", "trust"}
MIDDLE = LOW | {"engines", "episode", "outages", "recipe", "settings", "tables", "ports"}
MAY_IMPORT = {
    "errors": set(),
    "ids": set(),
    "masking": set(),
    "plain": {"masking"},
    "pages": set(),
    "salvage": {"pages"},
    "names": {"errors"},
    "trust": set(),
    "episode": set(),
    "recipe": {"errors"},
    "settings": {"errors", "recipe"},
    # `recipe` for its "did you mean", said of policies.
    "adapters": LOW | {"recipe"},
    "chat": {"errors", "episode"},
    "tokens": {"errors", "episode", "chat", "rollouts"},
    "outages": {"errors"},
    "engines": {"outages", "settings"},
    "tables": {"errors", "episode", "recipe"},
    "ports": LOW | {"disks", "salvage"},
    "digests": {"errors", "ids"},
    "disks": set(),
    "store": LOW | {"digests", "tables"},
    "progress": {"plain", "ports"},
    "judging": {"episode"},
    "selection": {"episode"},
    "reading": LOW | {"episode"},
    "rollouts": LOW | {"episode", "ports", "reading"},
    "shots": {"errors", "episode", "rollouts"},
    "scoring": LOW | {"episode", "reading", "tables"},
    "objective": {"errors", "adapters", "settings", "objective"},
    "tools": {"errors", "episode", "settings", "tools"},
    "nano": {"errors", "episode", "chat", "reading", "tools", "nano"},
    "stage": {"ports", "settings"},
    "stages": MIDDLE
    | {
        "adapters",
        "tokens",
        "chat",
        "judging",
        "selection",
        "reading",
        "rollouts",
        "shots",
        "objective",
        "stage",
        "tools",
        "nano",
    },
    # `recipe` for its "did you mean", said of what a server offers.
    "backends": LOW
    | {
        "adapters",
        "episode",
        "chat",
        "judging",
        "ports",
        "progress",
        "recipe",
        "objective",
        "engines",
        "settings",
        "tools",
        "backends",
    },
    "report": {"errors", "episode", "plain", "report", "selection"},
    "recordings": LOW | {"episode", "ports", "recipe", "salvage", "store", "tables"},
    "corpora": LOW | {"store", "tools"},
    "toolports": LOW | {"episode", "ports", "recipe", "recordings", "corpora", "backends", "tools", "nano"},
    "wiring": LOW | {"engines", "ports", "store", "backends", "tools", "toolports", "nano"},
    "variants": {"errors", "recipe", "settings", "stages"},
    "pipeline": MIDDLE
    | {"variants", "adapters", "digests", "store", "toolports", "wiring", "backends", "stage", "stages", "tools"},
    "reporting": LOW | {"digests", "report", "store"},
    "workbench": MIDDLE
    | {
        "store",
        "tokens",
        "stages",
        "lock",
        "pipeline",
        "preflight",
        "progress",
        "report",
        "recordings",
        "reporting",
        "scoring",
        "tools",
        "wiring",
    },
    "lock": {"disks", "errors"},
    "preflight": LOW | {"disks", "backends", "engines", "episode", "pipeline", "toolports", "tools", "wiring"},
    "doctor": LOW | {"backends", "engines", "pipeline", "ports", "preflight", "settings", "toolports", "tools"},
    "__main__": {"cli"},
    "cli": {
        "errors",
        "masking",
        "plain",
        "trust",
        "doctor",
        "lock",
        "recipe",
        "workbench",
        "report",
        "reporting",
        "tables",
        "store",
    },
}


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


def test_no_stage_imports_another():
    for path in (SOURCE / "stages").glob("*.py"):
        assert "from sparkctl.stages" not in path.read_text(), path.name


def test_help_is_fast_and_imports_nothing_heavy():
    code = "import sys, sparkctl.cli; print([m for m in ('torch','pyarrow','numpy','transformers','litellm','rich.progress') if m in sys.modules])"
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
        "import sys; from sparkctl import pipeline, recipe; pipeline.nodes(recipe.load(recipe.default_folder()));"
        "print([m for m in ('torch','transformers','litellm','sympy','pint') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.strip() == "[]"
