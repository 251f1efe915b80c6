"""What a Python process of its own loads, for tests of what modules must not depend on."""

import subprocess
import sys

from repository import REPOSITORY


def modules_loaded_with(module: str) -> set[str]:
    """Names of all modules that are loaded once one has been imported."""
    script = f"import sys, {module}; print(*sys.modules, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def parts_loaded_with(module: str) -> set[str]:
    """Names of the folders and modules just below the package that are loaded with one."""
    names = [name.split(".") for name in modules_loaded_with(module)]
    return {name[1] for name in names if name[0] == "dc_keras" and len(name) > 1}
