"""BUILD says what the code says: a target for each module, a test for each test file, exact deps.

    python tests/build_test.py --write      brings BUILD up to date

Bazel is not needed. BUILD is written in Starlark, which Python's parser reads as well.
"""

import ast
import collections
import dataclasses
import graphlib
import pathlib
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = pathlib.Path(__file__).parent.parent
FOLDERS = ("dc_keras", "tests", "benchmarks", "docs")
RUNNER = "tests/run_pytest.py"
CONFTEST = "tests/conftest.py"
HUB = "@dc_pip//"
RUNTIME_REQUIREMENTS = ("requirements.txt", "requirements-common.txt")
ALL_REQUIREMENTS = (*RUNTIME_REQUIREMENTS, "requirements-dev.txt")

# Packages of PyPI whose modules have another name.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "absl": "absl-py",
    "faiss": "faiss-cpu",
    "sklearn": "scikit-learn",
}
# Packages that the code does without where they are missing: requirements-data.txt, -torch.txt and
# -benchmarks.txt. They are in no lock, so Bazel's tests skip what needs them.
OPTIONAL = {"array_record", "matplotlib", "tensorflow_datasets", "torch"}
# Packages that are loaded without an import, by what is written instead.
LOADED_BY = {"tf.summary": "tensorboard", "keras.callbacks.TensorBoard": "tensorboard"}

WRITE_COMMAND = "python tests/build_test.py --write"
ORDER = ("name", "size", "testonly", "srcs", "args", "data", "main", "tags", "visibility", "deps")


class Source(str):
    """Starlark that is not a literal, such as a call of glob()."""


@dataclasses.dataclass
class Target:
    """A rule such as `py_library` and its attributes."""

    rule: str
    attributes: dict

    def __str__(self):
        names = sorted(self.attributes, key=lambda n: ORDER.index(n) if n in ORDER else len(ORDER))
        lines = [f"    {name} = {_starlark(self.attributes[name])},\n" for name in names]
        return f"{self.rule}(\n{''.join(lines)})\n"


def _starlark(value) -> str:
    if isinstance(value, Source | bool | int):
        return str(value)
    if isinstance(value, str):
        return f'"{value}"'
    if len(value) == 1:
        return f'["{value[0]}"]'
    return "[\n" + "".join(f'        "{item}",\n' for item in value) + "    ]"


def read_build(root: pathlib.Path) -> tuple[str, list[Target]]:
    """Returns what stands before the first py_* rule of BUILD, and the py_* rules."""
    text = (root / "BUILD").read_text()
    calls = [
        statement
        for statement in ast.parse(text).body
        if isinstance(statement, ast.Expr) and ast.unparse(statement).startswith("py_")
    ]
    targets = []
    for call in calls:
        attributes = {}
        for keyword in call.value.keywords:
            try:
                attributes[keyword.arg] = ast.literal_eval(keyword.value)
            except ValueError:
                attributes[keyword.arg] = Source(ast.get_source_segment(text, keyword.value))
        targets.append(Target(call.value.func.id, attributes))
    first_line = calls[0].lineno - 1 if calls else None
    return "".join(text.splitlines(keepends=True)[:first_line]), targets


class Tree:
    """The Python files of a repository, what they import and the targets that follow from it."""

    def __init__(self, root: pathlib.Path):
        paths = [*root.glob("*.py"), *(path for f in FOLDERS for path in (root / f).rglob("*.py"))]
        texts = {str(path.relative_to(root)): path.read_text() for path in sorted(paths)}
        # Only dc_keras is a package; Bazel before version 8 may put empty __init__.py elsewhere.
        inits = {path for path in texts if path.endswith("__init__.py")}
        self.inits = sorted(path for path in inits if path.startswith("dc_keras/"))
        texts = {path: texts[path] for path in texts if path not in inits or path in self.inits}
        self.syntax = {path: ast.parse(text, path) for path, text in texts.items()}
        self.programs = {p for p, t in texts.items() if '\nif __name__ == "__main__":' in t}
        self.configs = {str(path.relative_to(root)) for path in root.glob("configs/*.cfg")}
        self.files = {path.name for path in root.iterdir() if path.is_file()} - texts.keys()
        self.modules = {}
        for path in texts:
            dotted = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            self.modules[dotted] = path
            if not path.startswith("dc_keras/"):
                # tests/ is on the path of imports, and the folders of its files are under Bazel.
                self.modules.setdefault(dotted.removeprefix("tests."), path)
                self.modules.setdefault(dotted.rpartition(".")[2], path)

    def name(self, path: str) -> str:
        """The target that holds a file."""
        if path in self.inits:
            return "packages"
        stem = path.removesuffix(".py").removeprefix("dc_keras/").removeprefix("tests/")
        return stem.replace("/", "_")

    def imports(self, path: str) -> tuple[set[str], set[str]]:
        """Returns the paths of a file's imports in the repository, and the packages of PyPI."""
        paths, packages = set(), set()
        for dotted in _imported_names(self.syntax[path]):
            parent = dotted.rpartition(".")[0]
            inside = self.modules.get(dotted) or self.modules.get(parent)
            top = dotted.partition(".")[0]
            if inside:
                paths.add(inside)
            elif top not in sys.stdlib_module_names | OPTIONAL:
                packages.add(canonicalize_name(DISTRIBUTIONS.get(top, top)))
        for node in ast.walk(self.syntax[path]):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in LOADED_BY:
                packages.add(LOADED_BY[ast.unparse(node)])
        return paths - {path}, packages

    def named_files(self, path: str) -> set[str]:
        """Returns what a test or script names in its strings: what it runs or reads."""
        named = set()
        for node in _strings(self.syntax[path]):
            for token in re.findall(r"[\w./-]+", node):
                token = token.strip("/")
                if token in self.syntax or token in self.files or token in self.configs:
                    named.add(token)
                elif token == "configs":
                    named |= self.configs
                elif token.startswith("dc_keras.") and token in self.modules:
                    named.add(self.modules[token])
        return named - {path, RUNNER, *self.inits}

    def targets(self) -> list[Target]:
        """Returns the targets that BUILD should have, with the attributes that code decides."""
        packages = Target("py_library", {"name": "packages", "srcs": self.inits})
        targets = [self._target(p) for p in self.syntax if p not in {*self.inits, RUNNER}]
        package = [p for p in self.syntax if p.startswith("dc_keras/") and p not in self.programs]
        umbrella = {"name": "dc_keras", "visibility": ["//visibility:public"]}
        umbrella["deps"] = sorted({f":{self.name(path)}" for path in package})
        rules = ("py_library", "py_binary", "py_test")
        targets = [Target("py_library", umbrella), packages, *targets]
        return sorted(targets, key=lambda target: rules.index(target.rule))

    def _target(self, path: str) -> Target:
        is_test = path.endswith("_test.py")
        sources = [RUNNER, path] if is_test else [path]
        paths, packages = set(), set()
        for source in sources:
            found = self.imports(source)
            paths |= found[0]
            packages |= found[1]
        data = set()
        if path.startswith("dc_keras/"):
            paths.add("dc_keras/__init__.py")
        elif "/" in path:
            named = self.named_files(path)
            paths |= named & self.syntax.keys()
            data = {":configs" if file in self.configs else file for file in named - paths}
        if is_test:
            paths.add(CONFTEST)
        attributes = {"name": self.name(path), "srcs": sources}
        if is_test:
            attributes |= {"args": [path], "main": RUNNER, "size": "medium"}
        elif path in self.programs:
            attributes["main"] = path
        # What is for tests alone may be used by what is for benchmarks alone, by nothing else.
        if path.startswith(("tests/", "benchmarks/")) and not is_test:
            attributes["testonly"] = True
        if data:
            attributes["data"] = sorted(data, key=_buildifier_order)
        deps = {f":{self.name(p)}" for p in paths} | {
            HUB + package.replace("-", "_") for package in packages
        }
        if deps:
            attributes["deps"] = sorted(deps, key=_buildifier_order)
        rule = "py_test" if is_test else "py_binary" if path in self.programs else "py_library"
        return Target(rule, attributes)


def _imported_names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"Line {node.lineno}: relative import. Write `from dc_keras...`.")
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _strings(tree: ast.Module) -> Iterator[str]:
    """Yields the strings of a file, without docstrings."""
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Constant) and isinstance(child.value, str):
                if not isinstance(node, ast.Expr):
                    yield child.value


def _buildifier_order(label: str) -> tuple[int, str]:
    return ("@" in label) - label.startswith(":"), label


def merge(expected: Target, present: Target | None) -> Target:
    """Returns a target that is right and keeps what was set by hand."""
    if present is None:
        return expected
    merged = dict(present.attributes)
    for name in ("srcs", "main", "deps", "testonly"):
        merged.pop(name, None)
    for name, value in expected.attributes.items():
        by_hand = merged.get(name)
        if name == "args" and isinstance(by_hand, list):
            value = value + by_hand[1:]
        elif name == "data" and by_hand is not None:
            value = by_hand if isinstance(by_hand, Source) else _union(value, by_hand)
        elif name in ("size", "visibility") and by_hand is not None:
            value = by_hand
        merged[name] = value
    return Target(expected.rule, merged)


def _union(first: Iterable[str], second: Iterable[str]) -> list[str]:
    return sorted({*first, *second}, key=_buildifier_order)


def updated(root: pathlib.Path) -> str:
    """Returns the text that BUILD should have."""
    preamble, present = read_build(root)
    by_name = {target.attributes["name"]: target for target in present}
    targets = [merge(t, by_name.get(t.attributes["name"])) for t in Tree(root).targets()]
    return preamble.rstrip("\n") + "\n\n" + "\n".join(map(str, targets))


def problems(root: pathlib.Path) -> list[str]:
    """Returns what is wrong in BUILD, each with the target to write instead."""
    _, present = read_build(root)
    expected = {target.attributes["name"]: target for target in Tree(root).targets()}
    found = []
    by_name = {}
    for target in present:
        name = target.attributes["name"]
        if name in by_name:
            found.append(f"{name}: two targets have this name. Remove one.")
        if name not in expected:
            found.append(f"{name}: no file belongs to this target. Remove it.")
        by_name[name] = target
    for name, target in expected.items():
        old = by_name.get(name)
        new = merge(target, old)
        if old is None:
            found.append(f"{name}: target missing. Write\n{new}")
            continue
        wrong = [f"expected {new.rule}, found {old.rule}"] if new.rule != old.rule else []
        for attribute in sorted({*new.attributes, *old.attributes}):
            want, have = new.attributes.get(attribute), old.attributes.get(attribute)
            if want == have:
                continue
            if isinstance(want or [], list) and isinstance(have or [], list):
                missing = [item for item in want or [] if item not in (have or [])]
                extra = [item for item in have or [] if item not in (want or [])]
                wrong += [f"{attribute} lacks {item}" for item in missing]
                wrong += [f"{attribute} has a superfluous {item}" for item in extra]
                wrong += [] if missing or extra else [f"{attribute} is not sorted"]
            else:
                wrong.append(f"{attribute}: expected {want}, found {have}")
        if wrong:
            found.append(f"{name}: {'; '.join(wrong)}. Write\n{new}")
    return found


def requirements(names: Iterable[str]) -> dict[str, Requirement]:
    """Returns the requirements that stand in requirements files, by name of the package."""
    lines = [line for name in names for line in (REPOSITORY / name).read_text().splitlines()]
    lines = [line.partition("#")[0].strip() for line in lines]
    found = [Requirement(line) for line in lines if line and not line.startswith("-r ")]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


# ------------------------------------------------------------------------------- this repository


def test_build_is_up_to_date():
    found = problems(REPOSITORY)
    assert not found, "\n\n".join([*found, f"Or run: {WRITE_COMMAND}"])


def test_every_target_has_a_name_of_its_own():
    names = collections.Counter(t.attributes["name"] for t in Tree(REPOSITORY).targets())
    assert names.most_common(1)[0][1] == 1, names.most_common(3)


def test_no_circular_imports():
    tree = Tree(REPOSITORY)
    graph = {path: tree.imports(path)[0] for path in tree.syntax}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the modules


def test_imported_packages_are_required():
    tree = Tree(REPOSITORY)
    at_run_time, all_packages = requirements(RUNTIME_REQUIREMENTS), requirements(ALL_REQUIREMENTS)
    for path in tree.syntax:
        known = at_run_time if path.startswith("dc_keras/") or "/" not in path else all_packages
        missing = tree.imports(path)[1] - known.keys()
        assert not missing, f"{path} imports {missing}, which no requirements file names"


def test_required_packages_are_used():
    tree = Tree(REPOSITORY)
    used = set().union(*(tree.imports(path)[1] for path in tree.syntax))
    # Ruff and pytest-xdist are used by the Makefile.
    unused = requirements(ALL_REQUIREMENTS).keys() - used - {"ruff", "pytest-xdist"}
    assert not unused, f"Nothing imports {unused}: remove it from its requirements file"


def test_lock_satisfies_the_requirements():
    locked = requirements(["requirements_lock.txt"])
    for name, requirement in requirements(ALL_REQUIREMENTS).items():
        assert name in locked, f"{name} is missing in requirements_lock.txt. Run: make lock"
        (pin,) = locked[name].specifier
        assert pin.operator == "=="
        assert requirement.specifier.contains(pin.version), f"{requirement}: run make lock"


def test_pip_extras_equal_the_requirements_files():
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = extras["optional-dependencies"]
    for extra, file in (("cpu", "requirements.txt"), ("gpu", "requirements-gpu.txt")):
        listed = [str(requirement) for requirement in requirements([file]).values()]
        assert sorted(listed) == sorted(str(Requirement(text)) for text in extras[extra])


# ----------------------------------------------------------------------------------- this checker


@pytest.fixture
def project(tmp_path):
    """A small repository with a BUILD that is up to date."""
    files = {
        "BUILD": '# A comment\nload("@rules_python//python:py_test.bzl", "py_test")\n',
        "NOTES.md": "",
        "start.py": 'from dc_keras import a\n\nif __name__ == "__main__":\n    a.run()\n',
        "configs/x.cfg": "",
        "dc_keras/__init__.py": "",
        "dc_keras/a.py": "import os\n\nimport numpy as np\n",
        "dc_keras/deep/__init__.py": "",
        "dc_keras/deep/b.py": "def f():\n    from dc_keras.a import x\n    import sklearn.svm\n",
        "tests/conftest.py": "import pytest\n",
        "tests/helper.py": "from PIL import Image\n",
        "tests/run_pytest.py": 'import pytest\n\nif __name__ == "__main__":\n    pytest.main()\n',
        "tests/deep/b_test.py": (
            'import helper\n\nfrom dc_keras.deep import b\n\nARGUMENTS = ["start.py", "-h"]\n'
            'CONFIGS = "configs"\n'
        ),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "BUILD").write_text(updated(tmp_path))
    return tmp_path


def edit(path, old, new):
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def test_a_written_build_has_no_problems(project):
    assert problems(project) == []
    assert updated(project) == (project / "BUILD").read_text()
    preamble, targets = read_build(project)
    assert preamble.startswith("# A comment\nload(")
    found = {target.attributes["name"]: target for target in targets}
    assert found.keys() == {
        "dc_keras", "packages", "a", "deep_b", "conftest", "helper", "start", "deep_b_test",
    }  # fmt: skip
    assert found["start"].rule == "py_binary"
    assert found["start"].attributes["deps"] == [":a"]
    assert found["deep_b"].attributes["deps"] == [":a", ":packages", "@dc_pip//scikit_learn"]
    assert found["helper"].attributes["testonly"] is True
    assert found["deep_b_test"] == Target(
        "py_test",
        {
            "name": "deep_b_test",
            "size": "medium",
            "srcs": ["tests/run_pytest.py", "tests/deep/b_test.py"],
            "args": ["tests/deep/b_test.py"],
            "data": [":configs"],
            "main": "tests/run_pytest.py",
            "deps": [":conftest", ":deep_b", ":helper", ":start", "@dc_pip//pytest"],
        },
    )


def test_a_new_module_needs_a_target(project):
    (project / "dc_keras/deep/c.py").write_text("import dc_keras.a\n")
    umbrella, missing = problems(project)
    assert "dc_keras: deps lacks :deep_c." in umbrella
    assert missing == (
        'deep_c: target missing. Write\npy_library(\n    name = "deep_c",\n'
        '    srcs = ["dc_keras/deep/c.py"],\n    deps = [\n        ":a",\n        ":packages",\n'
        "    ],\n)\n"
    )


def test_a_new_test_needs_a_target(project):
    (project / "tests/a_test.py").write_text("import dc_keras.a\n")
    (problem,) = problems(project)
    assert problem.startswith("a_test: target missing. Write\npy_test(")


def test_a_missing_dep_is_found(project):
    edit(project / "dc_keras/a.py", "import os\n", "import os\nfrom dc_keras import mistakes\n")
    (project / "dc_keras/mistakes.py").write_text("")
    assert any(
        problem.startswith("a: deps lacks :mistakes. Write") for problem in problems(project)
    )


def test_a_superfluous_dep_is_found(project):
    edit(project / "dc_keras/a.py", "import numpy as np\n", "")
    (problem,) = problems(project)
    assert problem.startswith("a: deps has a superfluous @dc_pip//numpy. Write")


def test_a_leftover_target_is_found(project):
    (project / "tests/helper.py").unlink()
    assert "helper: no file belongs to this target. Remove it." in problems(project)


def test_data_of_a_test_is_found(project):
    with (project / "tests/deep/b_test.py").open("a") as file:
        file.write('NOTES = "NOTES.md"\n')
    (problem,) = problems(project)
    assert problem.startswith("deep_b_test: data lacks NOTES.md. Write")


def test_what_was_set_by_hand_stays(project):
    build = project / "BUILD"
    edit(build, 'size = "medium"', 'size = "large"')
    edit(build, 'args = ["tests/deep/b_test.py"]', 'args = ["tests/deep/b_test.py", "-m", "slow"]')
    edit(build, 'data = [":configs"]', 'tags = ["manual"],\n    data = [":configs", "NOTES.md"]')
    assert problems(project) == []
    build.write_text(updated(project))
    attributes = read_build(project)[1][-1].attributes
    assert (attributes["size"], attributes["tags"]) == ("large", ["manual"])
    assert attributes["args"] == ["tests/deep/b_test.py", "-m", "slow"]
    assert attributes["data"] == [":configs", "NOTES.md"]


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(f"Unknown arguments: {sys.argv[1:]}. Expected: {WRITE_COMMAND}")
    (REPOSITORY / "BUILD").write_text(updated(REPOSITORY))
