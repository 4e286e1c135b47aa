"""Write the lower bounds of pyproject.toml as a constraints file of pip, so that they can be tested."""

import re
import sys
import tomllib
from pathlib import Path

# Only recent versions have a CPU build in reach: constraints.txt says which one is tested.
UNTESTED = "torch"


def read_minima(pyproject: Path, pinned: Path) -> list[str]:
    project = tomllib.loads(pyproject.read_text())["project"]
    extras = project["optional-dependencies"].values()
    bounds = [re.match(r"([\w-]+)>=([\w.]+)", one) for one in sum(extras, project["dependencies"])]
    minima = [f"{bound[1]}=={bound[2]}" for bound in bounds if bound and bound[1] != UNTESTED]
    return minima + [line for line in pinned.read_text().splitlines() if line.startswith(f"{UNTESTED}==")]


if __name__ == "__main__":
    root = Path(__file__).resolve().parents[1]
    sys.stdout.write("\n".join(read_minima(root / "pyproject.toml", root / "constraints.txt")) + "\n")
