"""Counts who imports whom. Run: python tests/helpers/import_picture.py [FOLDER of the package]

modules   files; words: files and folders at the top of the package
arrows    pairs of modules, or of words, of which one imports the other, anywhere in it
floors    words on the longest way down from a word that nobody imports
circles   groups of modules, or of words, that import one another
"""

import ast
import sys
from collections import defaultdict
from pathlib import Path

Arrows = dict[str, set[str]]
"""Module -> those that it imports."""


def arrows(folder: Path) -> Arrows:
    """All imports between the modules of a package, those inside functions too."""
    files = {_dotted(folder, path): path for path in sorted(folder.rglob("*.py"))}
    return {module: set(_imported(ast.parse(path.read_text()), files)) - {module} for module, path in files.items()}


def _dotted(folder: Path, path: Path) -> str:
    return ".".join([folder.name, *path.relative_to(folder).with_suffix("").parts]).removesuffix(".__init__")


def _imported(tree: ast.AST, known: dict[str, Path]):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found = inner if inner in known else node.module
                if found in known:
                    yield found
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)


def of_words(between: Arrows) -> Arrows:
    """The same between the files and folders at the top."""
    found: Arrows = defaultdict(set)
    for module, others in between.items():
        if word := _word(module):
            found[word] |= {other for other in map(_word, others) if other and other != word}
    return dict(found)


def _word(module: str) -> str:
    return module.partition(".")[2].partition(".")[0]


def circles(between: Arrows) -> list[list[str]]:
    """Groups that import one another, each sorted (Tarjan's strongly connected components, by reachability)."""
    reached = {module: _reached(module, between) for module in between}
    groups = {frozenset(b for b in reached[a] if a in reached[b]) for a in between if a in reached[a]}
    return sorted(sorted(group) for group in groups)


def _reached(start: str, between: Arrows) -> set[str]:
    seen: set[str] = set()
    todo = list(between[start])
    while todo:
        if (module := todo.pop()) not in seen:
            seen.add(module)
            todo += between[module]
    return seen


def floors(between: Arrows) -> int:
    """How many lie on the longest way down; those in a circle count as one floor."""
    known: dict[str, int] = {}

    def height(word: str, above: frozenset[str]) -> int:
        if word not in known:
            below = [height(other, above | {word}) for other in between[word] if other not in above]
            known[word] = 1 + max(below, default=0)
        return known[word]

    return max(height(word, frozenset()) for word in between)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2] / "src" / "sparkctl"
    between = arrows(folder)
    words = of_words(between)
    print(f"modules: {len(between)}, arrows {sum(map(len, between.values()))}, circles {len(circles(between))}")
    print(
        f"words: {len(words)}, arrows {sum(map(len, words.values()))}, floors {floors(words)}, circles {len(circles(words))}"
    )
    for group in circles(between):
        print("circle:", " ".join(group))


if __name__ == "__main__":
    main()
