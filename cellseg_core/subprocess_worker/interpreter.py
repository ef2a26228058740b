"""The interpreter of another Python environment: where it is, and what is wrong if it is none."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from cellseg_core.errors import ConfigurationError

__all__ = ["OLDEST", "environment_for", "find_interpreter", "what_is_wrong"]

OLDEST = (3, 8)
"""The oldest Python that the worker script runs on."""

_PLACES = ("bin/python", "bin/python3", "Scripts/python.exe", "python.exe")
_ANSWER = 64
_PATIENCE = 20.0  # s for an interpreter to say its version


def find_interpreter(python: str | None) -> Path:
    """Return the interpreter at a path, in the folder of an environment, or of a command's name.

    None is the interpreter that runs this. Symbolic links are kept: the interpreter of a virtual
    environment is one.

    Raises
    ------
    ConfigurationError
        If there is none.

    >>> find_interpreter(None) == Path(sys.executable)
    True
    """
    if python is None:
        return Path(sys.executable)
    given = Path(os.path.expanduser(python))  # noqa: PTH111 - no error where there is no home
    if given.is_dir():
        for place in _PLACES:
            if (given / place).is_file():
                return Path(os.path.abspath(given / place))  # noqa: PTH100 - keeps links
        raise ConfigurationError(
            f"there is no Python in the folder {given}: it has none of {', '.join(_PLACES)}. "
            "Give the folder of an environment (`python -m venv FOLDER` makes one), or its "
            "interpreter: --set segmenter.python=FOLDER"
        )
    command = shutil.which(python) if given.name == python and not given.exists() else None
    if command is None and not given.is_file():
        raise ConfigurationError(
            f"there is no Python interpreter at {given}. Give the path of an environment's "
            "interpreter or of its folder: --set segmenter.python=FOLDER"
        )
    return Path(os.path.abspath(command or given))  # noqa: PTH100 - keeps links


def environment_for(python: Path) -> dict[str, str]:
    """Return the environment variables that the interpreter is started with.

    Those by which our own environment would leak into another one are left out, and the
    interpreter's folder comes first on the ``PATH``, as where it is activated.
    """
    variables = {**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONFAULTHANDLER": "1"}
    if python != Path(sys.executable):
        for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__"):
            variables.pop(name, None)
        # Conda keeps libraries that numpy needs in the second, on Windows.
        folders = (python.parent, python.parent / "Library" / "bin")
        there = [str(folder) for folder in folders if folder.is_dir()]
        variables["PATH"] = os.pathsep.join([*there, variables.get("PATH", os.defpath)])
    return variables


def what_is_wrong(python: Path) -> str | None:
    """Return why a program cannot run the worker: it is no Python, or too old; or None.

    >>> what_is_wrong(Path(sys.executable))
    """
    # Written for any Python, and for programs that are none: one that writes without end, too.
    code = "import sys; sys.stdout.write('python %d.%d' % tuple(sys.version_info[:2]))"
    try:
        asked = subprocess.Popen(  # noqa: S603 - the interpreter that the user named
            [str(python), "-c", code],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment_for(python),
        )
    except (OSError, ValueError) as error:
        return f"{python} cannot be started ({error})"
    timer = threading.Timer(_PATIENCE, asked.kill)
    timer.start()
    try:
        with asked:
            assert asked.stdout is not None
            answer = asked.stdout.read(_ANSWER)
            asked.kill()
    finally:
        timer.cancel()
    version = re.fullmatch(rb"python (\d+)\.(\d+)\s*", answer)
    if version is None:
        return f"{python} is not a Python interpreter"
    if (int(version[1]), int(version[2])) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        return f"{python} is {answer.decode().strip()}, and {oldest} or newer is needed"
    return None
