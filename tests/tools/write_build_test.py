"""BUILD files say what the code says: a target for each module, a test for each test file."""

import graphlib
import subprocess
import sys

import pytest

from repository import REPOSITORY
from tools.write_build import Tree, build_files, outdated


def test_build_files_are_up_to_date():
    wrong = outdated(REPOSITORY)
    assert not wrong, f"{wrong}: run python tools/write_build.py"


def test_no_circular_imports():
    tree = Tree(REPOSITORY)
    graph = {path: tree.imports(path)[0] for path in tree.syntax}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the modules


@pytest.fixture
def project(tmp_path):
    """A small repository with BUILD files that are up to date."""
    files = {
        "BUILD": "# By hand\n",
        "start.py": 'from dc_keras import a\n\nif __name__ == "__main__":\n    a.run()\n',
        "dc_keras/__init__.py": "",
        "dc_keras/a.py": "import os\n\nimport numpy as np\n",
        "dc_keras/deep/__init__.py": "",
        "dc_keras/deep/b.py": "def f():\n    from dc_keras.a import x\n    import sklearn.svm\n",
        "dc_keras/one/__init__.py": "from dc_keras.one.c import C\n",
        "dc_keras/one/c.py": "import os\n",
        "tests/conftest.py": "import pytest\n",
        "tests/helper.py": "from PIL import Image\n",
        "tests/repository.py": "",
        "tests/run_pytest.py": 'import pytest\n\nif __name__ == "__main__":\n    pytest.main()\n',
        "tests/deep/b_test.py": "import helper\n\nfrom dc_keras.deep import b\n",
        "tests/deep/runs_test.py": (
            "import pytest\nfrom repository import REPOSITORY\n\n\n"
            "@pytest.mark.slow\ndef test_a():\n    pass\n"
        ),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for name, text in build_files(tmp_path).items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_written_files_are_up_to_date(project):
    assert outdated(project) == []
    assert (project / "BUILD").read_text().startswith("# By hand\n# Written by")


def test_a_module_is_a_target_with_its_imports(project):
    assert (
        'py_library(\n    name = "b",\n    srcs = ["b.py"],\n    deps = [\n'
        '        "//dc_keras/deep:package",\n        "//dc_keras:a",\n'
        '        "//dc_keras:package",\n'
        '        "@dc_pip//scikit_learn",\n    ],\n)\n'
    ) in (project / "dc_keras/deep/BUILD").read_text()


def test_a_folder_whose_init_imports_it_is_one_target(project):
    text = (project / "dc_keras/one/BUILD").read_text()
    assert 'name = "one",\n    srcs = [\n        "__init__.py",\n        "c.py",\n    ]' in text
    assert text.count("py_library(") == 1


def test_a_test_has_its_helpers_and_the_runner(project):
    assert (
        'py_test(\n    name = "b_test",\n    size = "medium",\n    srcs = [\n        "b_test.py",\n'
        '        "//tests:run_pytest.py",\n    ],\n    args = ["tests/deep/b_test.py"],\n'
        '    main = "//tests:run_pytest.py",\n    deps = [\n'
        '        "//dc_keras/deep:b",\n'
        '        "//tests:conftest",\n        "//tests:helper",\n        "@dc_pip//pytest",\n'
        "    ],\n)\n"
    ) in (project / "tests/deep/BUILD").read_text()


def test_a_test_that_knows_the_repository_gets_all_of_it(project):
    text = (project / "tests/deep/BUILD").read_text()
    text = text[text.index('name = "runs_test"') :]
    assert 'data = ["//:repository"]' in text and '"//dc_keras:all_modules"' in text
    # Bazel counts a file without a test as failed.
    assert '"tests/deep/runs_test.py",\n        "-m",\n        "slow",\n' in text


def test_programs_are_binaries(project):
    assert 'py_binary(\n    name = "start",' in (project / "BUILD").read_text()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("dc_keras/new.py", "import os\n"),
        ("dc_keras/a.py", "import os\n"),
        ("tests/deep/new_test.py", ""),
    ],
)
def test_what_differs_is_found(project, path, text):
    (project / path).write_text(text)
    folder = path.rpartition("/")[0]
    assert f"{folder}/BUILD" in outdated(project)


def test_a_folder_without_code_has_no_build(project):
    for path in (project / "dc_keras/deep").glob("*.py"):
        path.unlink()
    assert "dc_keras/deep/BUILD" in outdated(project)


def test_relative_imports_are_refused(project):
    (project / "dc_keras/a.py").write_text("from . import deep\n")
    with pytest.raises(ValueError, match="Line 1: relative import"):
        outdated(project)


def test_the_check_ends_with_1():
    done = subprocess.run(
        [sys.executable, "tools/write_build.py", "--check"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == (1 if outdated(REPOSITORY) else 0), done.stderr
