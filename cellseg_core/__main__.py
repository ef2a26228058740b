"""``python -m cellseg_core``: the command line, where `cellseg` is not on the path."""

from __future__ import annotations

from cellseg_core.cli.main import main

if __name__ == "__main__":
    main()
