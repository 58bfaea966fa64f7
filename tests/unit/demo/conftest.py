import sys
from pathlib import Path

# The demo is a script, not a package: its modules are found beside it.
sys.path.insert(0, str(Path(__file__).parents[3] / "docs" / "demo"))
