"""`import ragtune`, `ragtune --help` and the check of a recipe answer at once: no torch, half a second at most."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "sentence_transformers", "pandas", "scipy", "sklearn", "matplotlib", "datasets")
CPU_SECONDS = 0.5
STATEMENTS = {
    "import ragtune": "import ragtune",
    "ragtune --help": """
import sys
sys.argv = ["ragtune", "--help"]
from ragtune.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
""",
    "recipes": "import ragtune.recipe, ragtune.recipe_loading",
}


def run_python(statement: str) -> tuple[set[str], float]:
    """Run a statement in a fresh Python; give the heavy modules it loaded and the processor seconds it took."""
    report = f"import sys; print('LOADED', *[m for m in {HEAVY!r} if m in sys.modules])"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}\n{report}"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    loaded = set(done.stdout.splitlines()[-1].split()[1:])
    return loaded, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("name", STATEMENTS)
def test_is_light(name: str) -> None:
    tries = [run_python(STATEMENTS[name]) for _ in range(3)]
    assert not tries[0][0]
    assert min(seconds for _, seconds in tries) < CPU_SECONDS


def test_a_heavy_import_is_seen() -> None:
    assert run_python("import scipy")[0] == {"scipy"}
