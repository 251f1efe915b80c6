"""Writes the BUILD files: a target for each module, a test for each test file, deps as imported.

    python tools/write_build.py            brings all BUILD files up to date
    python tools/write_build.py --check    names those that are not; exits with 1

Bazel is not needed. Every folder with Python files is a package of Bazel, with a BUILD of its own:
`dc_keras/clustering/kmeans.py` is the target `//dc_keras/clustering:kmeans`. A folder whose
`__init__.py` imports from it is one target by its name. In the BUILD at the top, what stands before
the line `# Written by ...` is written by hand and stays.
"""

import argparse
import ast
import pathlib
import sys
from collections.abc import Iterable, Iterator
from typing import Any

ROOTS = ("dc_keras", "tests", "benchmarks", "tools")
HUB = "@dc_pip//"
RUNNER, CONFTEST, REPOSITORY = "tests/run_pytest.py", "tests/conftest.py", "tests/repository.py"
WRITTEN = "# Written by tools/write_build.py, which reads the imports: do not edit below.\n"

# Packages of PyPI whose modules have another name.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "absl": "absl-py",
    "faiss": "faiss-cpu",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
# Packages that the code does without where they are missing: requirements-browser.txt, -data.txt,
# -torch.txt and -serving.txt. They are in no lock, so Bazel's tests skip what
# needs them.
OPTIONAL = {
    "array_record",
    "onnx",
    "onnxruntime",
    "playwright",
    "pyarrow",
    "tensorflow_datasets",
    "tensorflow_serving",
    "tf2onnx",
    "torch",
}
# Packages that are loaded without an import, by what is written instead.
LOADED_BY = {"tf.summary": "tensorboard", "keras.callbacks.TensorBoard": "tensorboard"}
# Files that a module reads, beside it.
DATA = {"dc_keras/exploring/gallery.py": 'glob(["page/*"])'}
# Tests that take minutes, most of them in programs that use both processors.
LARGE = {"tests/programs/program_test.py", "tests/training/loop_test.py", "tests/readme_test.py"}


class _Source(str):
    """Starlark that is not a literal, such as a call of glob()."""


Rule = tuple[str, dict[str, Any]]


class Tree:
    """The Python files of a repository and what they import.

    Args:
        root: The repository.

    Attributes:
        syntax: The parsed files by path below the root.
    """

    def __init__(self, root: pathlib.Path):
        found = [*root.glob("*.py"), *(p for name in ROOTS for p in (root / name).rglob("*.py"))]
        self.syntax = {
            path.relative_to(root).as_posix(): ast.parse(path.read_text(), str(path))
            for path in sorted(found)
        }
        self._modules = {}
        for path in self.syntax:
            dotted = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            self._modules[dotted] = path
            # tests/ is on the path of imports, and so are the folders of its files.
            if path.startswith("tests/"):
                self._modules.setdefault(dotted.removeprefix("tests."), path)
                self._modules.setdefault(dotted.rpartition(".")[2], path)

    def imports(self, path: str, *, late: bool = True) -> tuple[set[str], set[str]]:
        """What a file imports.

        Args:
            path: The file, below the root.
            late: Whether imports within functions count.

        Returns:
            Paths of files of the repository, and names of packages on PyPI.
        """
        files, packages = set(), set()
        tree = self.syntax[path]
        for dotted in _imported_names(ast.walk(tree) if late else tree.body):
            file = self._modules.get(dotted) or self._modules.get(dotted.rpartition(".")[0])
            top = dotted.partition(".")[0]
            if file:
                files.add(file)
            elif top not in sys.stdlib_module_names | OPTIONAL:
                packages.add(DISTRIBUTIONS.get(top, top))
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in LOADED_BY:
                packages.add(LOADED_BY[ast.unparse(node)])
        return files - {path}, packages

    def is_one_target(self, folder: str) -> bool:
        """Whether the modules of a folder are one target, since its __init__.py imports them."""
        init = f"{folder}/__init__.py"
        if init not in self.syntax:
            return False
        return any(_folder(file) == folder for file in self.imports(init, late=False)[0])

    def label(self, path: str) -> str:
        """The target that holds a file."""
        folder, _, name = path.rpartition("/")
        if self.is_one_target(folder):
            return f"//{folder}"
        target = "package" if name == "__init__.py" else name.removesuffix(".py")
        return f"//{folder}:{target}"

    def is_program(self, path: str) -> bool:
        """Whether a file does something when it is run."""
        return any(
            isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"
            for node in self.syntax[path].body
        )

    def has_slow_tests_only(self, path: str) -> bool:
        """Whether all tests of a file are marked as slow: Bazel counts a file without as failed."""
        tests = [
            node
            for node in self.syntax[path].body
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        ]
        slow = [any("mark.slow" in ast.unparse(d) for d in test.decorator_list) for test in tests]
        return bool(tests) and all(slow)

    def rule(self, paths: list[str]) -> Rule:
        """The rule for one target.

        Args:
            paths: The files that it holds, all of one folder.
        """
        first = paths[0]
        folder = _folder(first)
        is_test = first.endswith("_test.py")
        files, packages = set(), set()
        for path in paths:
            found = self.imports(path, late=not path.endswith("__init__.py"))
            files |= found[0]
            packages |= found[1]
        # Importing a module runs the __init__.py of each folder above it.
        files |= {i for f in paths for i in _inits_above(f) if i in self.syntax}
        name = self.label(first).rpartition(":" if ":" in self.label(first) else "/")[2]
        attributes: dict[str, Any] = {"name": name}
        deps = set()
        if is_test:
            files.add(CONFTEST)
            attributes["size"] = "large" if first in LARGE else "medium"
            attributes["srcs"] = [_name(first), f"//tests:{_name(RUNNER)}"]
            slow = ["-m", "slow"] if self.has_slow_tests_only(first) else []
            attributes["args"] = [first, *slow]
            attributes["main"] = f"//tests:{_name(RUNNER)}"
            packages.add("pytest")
            if first in LARGE:
                attributes["tags"] = ["cpu:2"]
            if REPOSITORY in files:
                # It starts programs or reads files by their names.
                attributes["data"] = ["//:repository"]
                deps = {"//:evaluate", "//:train", "//dc_keras:all_modules"}
        else:
            attributes["srcs"] = [_name(path) for path in paths]
            if first in DATA:
                attributes["data"] = _Source(DATA[first])
            if self.is_program(first):
                attributes["main"] = _name(first)
            if self.is_program(first) and not folder:
                # Programs are found by their names.
                deps.add("//dc_keras:all_modules")
            if folder.startswith(("tests", "benchmarks", "tools")):
                attributes["testonly"] = True
        deps |= {self.label(f) for f in files if f not in paths} - {self.label(first)}
        deps |= {f"{HUB}{package.lower().replace('-', '_')}" for package in packages}
        if deps:
            attributes["deps"] = sorted(deps, key=lambda label: ("@" in label, label))
        kind = "py_test" if is_test else "py_binary" if "main" in attributes else "py_library"
        return kind, attributes

    def rules(self, folder: str) -> list[Rule]:
        """The rules of one folder's BUILD."""
        here = [path for path in self.syntax if _folder(path) == folder and path != RUNNER]
        if self.is_one_target(folder):
            return [self.rule(here)]
        rules = [self.rule([path]) for path in here]
        kinds = ("py_library", "py_binary", "py_test")
        return sorted(rules, key=lambda rule: kinds.index(rule[0]))


def build_files(root: pathlib.Path) -> dict[str, str]:
    """What all BUILD files of a repository should say, by path below its root."""
    tree = Tree(root)
    folders = sorted({_folder(path) for path in tree.syntax})
    texts = {}
    for folder in folders:
        rules = tree.rules(folder)
        if folder == "dc_keras":
            everything = {
                tree.label(path)
                for path in tree.syntax
                if path.startswith("dc_keras/") and not tree.is_program(path)
            }
            umbrella = {"name": "all_modules", "deps": sorted(everything)}
            alias = {"name": "dc_keras", "actual": ":all_modules"}
            rules = [("alias", alias), ("py_library", umbrella), *rules]
        if folder:
            texts[f"{folder}/BUILD"] = _text(folder, rules)
    by_hand = (root / "BUILD").read_text().partition(WRITTEN)[0]
    sources = [f"//{folder}:sources" for folder in folders if folder]
    repository = {
        "name": "repository",
        "testonly": True,
        "srcs": [":sources", *sources],
    }
    rules = [("filegroup", repository), *tree.rules("")]
    texts["BUILD"] = by_hand + WRITTEN + "\n" + "\n".join(_starlark(rule) for rule in rules)
    return texts


def _text(folder: str, rules: list[Rule]) -> str:
    """The text of a BUILD file that is written as a whole."""
    kinds = [kind for kind in ("py_binary", "py_library", "py_test") if kind in dict(rules)]
    loads = "".join(f'load("@rules_python//python:{kind}.bzl", "{kind}")\n' for kind in kinds)
    head = f"{WRITTEN}\n{loads}\n" + 'package(default_visibility = ["//visibility:public"])\n\n'
    if folder == "tests":
        head += f'exports_files(["{_name(RUNNER)}"])\n\n'
    sources = (
        'filegroup(\n    name = "sources",\n    testonly = True,\n    srcs = glob(["*"]),\n)\n\n'
    )
    return head + sources + "\n".join(_starlark(rule) for rule in rules)


def _starlark(rule: Rule) -> str:
    kind, attributes = rule
    lines = [f"    {name} = {_value(value)},\n" for name, value in attributes.items()]
    return f"{kind}(\n{''.join(lines)})\n"


def _value(value: str | list[str] | bool) -> str:
    if isinstance(value, bool | _Source):
        return str(value)
    if isinstance(value, str):
        return f'"{value}"'
    if len(value) == 1:
        return f'["{value[0]}"]'
    return "[\n" + "".join(f'        "{item}",\n' for item in value) + "    ]"


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _inits_above(path: str) -> Iterator[str]:
    folder = _folder(path)
    while folder:
        yield f"{folder}/__init__.py"
        folder = _folder(folder)


def _imported_names(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"Line {node.lineno}: relative import. Write `from dc_keras...`.")
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def outdated(root: pathlib.Path) -> list[str]:
    """Names the BUILD files that are missing, differ, or belong to a folder without code."""
    expected = build_files(root)
    wrong = [
        path
        for path, text in expected.items()
        if not (root / path).exists() or (root / path).read_text() != text
    ]
    present = {
        path.relative_to(root).as_posix() for name in ROOTS for path in (root / name).rglob("BUILD")
    }
    return sorted(wrong) + sorted(present - expected.keys())


def main() -> None:
    """Writes or checks the BUILD files of the repository that this file is in."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    root = pathlib.Path(__file__).parent.parent
    wrong = outdated(root)
    if check:
        if wrong:
            sys.exit(f"Not up to date: {', '.join(wrong)}. Run: python tools/write_build.py")
        return
    expected = build_files(root)
    for path in wrong:
        if path in expected:
            (root / path).write_text(expected[path])
        else:
            (root / path).unlink()


if __name__ == "__main__":
    main()
