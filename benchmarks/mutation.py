"""Whether the tests notice faults: a module gets one small fault at a time, and its tests run.

    pip install cosmic-ray hypothesis pytest
    python benchmarks/mutation.py --area stitching [--sample 80] [--minutes 10] [--again]

The faults (mutants) are those that Cosmic Ray's operators make: a number one off, `<` for `<=`,
`+` for `-`, `and` for `or`, a condition turned round, a loop never entered. Cosmic Ray itself would
start Python and compile all loops anew for each of some thousands. Here a process that has imported
all libraries is forked, nothing on the disk is changed, and only the loops of a changed module are
compiled again. Linux and macOS.

A mutant that no test notices survives: a test is missing, the code does nothing, or the two mean
the same. Those of the last kind stand in `mutants.toml` with the reason and are not run.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import math
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import tomllib
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
EQUIVALENT = Path(__file__).with_name("mutants.toml")
MEMORY = 8 * 2**30
"""Bytes that the tests of one mutant may ask for."""

WAIT = 1800
"""Seconds after which the tests of one mutant are ended that wait for something."""

OPERATORS = (
    "NumberReplacer",
    "AddNot",
    "ReplaceTrueWithFalse",
    "ReplaceFalseWithTrue",
    "ReplaceAndWithOr",
    "ReplaceOrWithAnd",
    "ReplaceBreakWithContinue",
    "ReplaceContinueWithBreak",
    "ZeroIterationForLoop",
    *(f"ReplaceUnaryOperator_Delete_{name}" for name in ("USub", "Not", "Invert")),
    *(
        f"ReplaceComparisonOperator_{pair}"
        for pair in ("Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt", "Eq_NotEq", "NotEq_Eq", "Is_IsNot")
    ),
    "ReplaceComparisonOperator_IsNot_Is",
    *(
        f"ReplaceBinaryOperator_{pair}"
        for pair in ("Add_Sub", "Sub_Add", "Mul_FloorDiv", "FloorDiv_Mul", "Div_Mul", "Pow_Mul")
    ),
    *(
        f"ReplaceBinaryOperator_{pair}"
        for pair in ("Mod_Mul", "BitAnd_BitOr", "BitOr_BitAnd", "RShift_LShift", "LShift_RShift")
    ),
)


class Area(NamedTuple):
    """Modules, and the tests that are to notice what is wrong with them; quick ones first."""

    sources: tuple[str, ...]
    tests: tuple[str, ...]


def _area(sources: str, tests: str) -> Area:
    found = (path for pattern in sources.split() for path in sorted(ROOT.glob(f"{pattern}.py")))
    return Area(
        tuple(path.relative_to(ROOT).as_posix() for path in found),
        tuple(f"tests/{path}" for path in tests.split()),
    )


AREAS = {
    "stitching": _area(
        "cellseg_core/stitching* cellseg_core/objects cellseg_core/tiling "
        "cellseg_core/reading_order",
        "core/test_tiling.py core/test_objects.py core/test_stitching.py",
    ),
    "expansion": _area(
        "cellseg_core/growing postprocess/*/expansion*",
        "core/test_growing.py postprocess/test_expansion.py",
    ),
    "compensation": _area(
        "cellseg_core/compensating cellseg_core/contacts* postprocess/*/compensation "
        "postprocess/*/conserving postprocess/*/boundary* postprocess/*/bleed_system*",
        "core/test_compensating.py core/test_contacts.py "
        "postprocess/test_conserving_and_boundary.py postprocess/test_compensation.py",
    ),
    "measurement": _area(
        "cellseg_core/measure cellseg_core/features cellseg_core/intensity* cellseg_core/shape* "
        "cellseg_core/percentile_kernels cellseg_core/regions*",
        "core/test_features.py core/test_shape.py core/test_regions.py core/test_measure.py",
    ),
    "metrics": _area("cellseg_core/metrics/[!_]*", "core/metrics"),
}


class Mutant(NamedTuple):
    """A module with one fault: where, the line as it was and as it is, and the whole text."""

    source: str
    line: int
    before: str
    after: str
    text: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What names it, whatever else changes in the module."""
        return self.source, self.before, self.after


def places(source: str) -> list[tuple[str, str, int]]:
    """Return where a module can be mutated: the module, the operator, and which of its places."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator

    nodes = list(ast_nodes(get_ast((ROOT / source).read_text())))
    found = []
    for name in OPERATORS:
        operator = get_operator(f"core/{name}")()
        count = sum(1 for node in nodes for _ in operator.mutation_positions(node))
        found += [(source, name, number) for number in range(count)]
    return found


def mutate(source: str, operator: str, number: int) -> Mutant | None:
    """Return a mutant; None where only an annotation changes, or it is not Python."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    text = (ROOT / source).read_text()
    changed = mutate_code(text, get_operator(f"core/{operator}")(), number)
    try:
        if changed is None or _meaning(changed) == _meaning(text):
            return None
    except SyntaxError:
        return None
    pairs = zip(text.splitlines(), changed.splitlines(), strict=False)
    line, (before, after) = next((i, pair) for i, pair in enumerate(pairs, 1) if pair[0] != pair[1])
    return Mutant(source, line, before.strip(), after.strip(), changed)


class _Bare(ast.NodeTransformer):
    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)


def _meaning(text: str) -> str:
    return ast.dump(_Bare().visit(ast.parse(text)))


def chosen(area: str, sample: int) -> Iterator[Mutant]:
    """Yield the mutants of an area, or ``sample`` of them: always the same, from everywhere."""
    equivalent = {
        (one["source"], one["before"], after)
        for one in tomllib.loads(EQUIVALENT.read_text())["equivalent"]
        for after in one["after"]
    }
    unseen = {key for key in equivalent if key[0] in AREAS[area].sources}
    where = [place for source in AREAS[area].sources for place in places(source)]
    where.sort(key=lambda place: hashlib.sha256(repr(place).encode()).digest())
    made = 0
    for place in where:
        if sample and made == sample:
            return
        mutant = mutate(*place)
        if mutant is not None:
            made += 1
            unseen.discard(mutant.key)
            if mutant.key not in equivalent:
                yield mutant
    if unseen:
        print(f"{EQUIVALENT.name} names what is not made any more:", *unseen, sep="\n  ")


class _Loader(SourceFileLoader):
    text = ""

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002
        return compile(self.text, self.path, "exec", dont_inherit=True)


class _Finder:
    """Finds one module with another text than its file has."""

    def __init__(self, mutant: Mutant) -> None:
        self.text = mutant.text
        self.path = str(ROOT / mutant.source)
        name = mutant.source.removeprefix("postprocess/")
        self.name = name.removesuffix(".py").replace("/", ".")

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        if name != self.name:
            return None
        loader = _Loader(name, self.path)
        loader.text = self.text
        return spec_from_file_location(name, self.path, loader=loader)


def outcome(
    mutant: Mutant | None, tests: tuple[str, ...], seconds: int, work: Path
) -> tuple[str, float]:
    """Return what tests say of a mutant, and their processor time in s, ``seconds`` at most.

    They say ``failed``, ``crashed``, ``too slow`` or ``passed``. Without a mutant, the compiled
    loops are kept in ``work`` for mutants of other modules.
    """
    cache = work / "compiled"
    if mutant is not None and mutant.source.endswith("_kernels.py"):
        # numba compares times of files and not what is in them.
        cache = work / "compiled-anew"
        shutil.rmtree(cache, ignore_errors=True)
        changed = Path(mutant.source).stem
        shutil.copytree(work / "compiled", cache, ignore=shutil.ignore_patterns(f"{changed}.*"))
    child = os.fork()
    if child == 0:
        _test(mutant, tests, seconds, cache, work / "said")
    _, status, used = os.wait4(child, 0)
    took = used.ru_utime + used.ru_stime
    if not os.WIFSIGNALED(status):
        return "failed" if os.WEXITSTATUS(status) else "passed", took
    slow = os.WTERMSIG(status) in {signal.SIGXCPU, signal.SIGALRM}
    return "too slow" if slow else "crashed", took


def _test(
    mutant: Mutant | None, tests: tuple[str, ...], seconds: int, cache: Path, said: Path
) -> None:
    """Run tests in this process, a child, and end it with pytest's exit code."""
    import numba
    import pytest

    code = 1
    try:
        log = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
        signal.alarm(WAIT)
        # Tests take little of the time, compiling takes most.
        os.environ |= {"NUMBA_CACHE_DIR": str(cache), "NUMBA_OPT": "1"}
        numba.config.reload_config()
        if mutant is not None:
            sys.meta_path.insert(0, _Finder(mutant))
        # That hypothesis, a plugin, is there before pytest is a warning.
        quiet = ("-W", "ignore::pytest.PytestAssertRewriteWarning")
        quick = ("-x", "-k", "not a_million")
        code = pytest.main(["-q", "-p", "no:cacheprovider", *quick, *quiet, *tests])
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def prepare() -> None:
    """Import what tests need, so that each child has it; none of the modules that are changed."""
    import hypothesis

    for name in (
        "numba",
        "pandas",
        "pytest",
        "scipy.sparse.linalg",
        "scipy.stats",
        "skimage.measure",
    ):
        import_module(name)
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile(
        "mutation", phases=phases, database=None, derandomize=True, deadline=None
    )
    hypothesis.settings.load_profile("mutation")
    loaded = [name for name in sys.modules if name.startswith("cellseg_")]
    assert not loaded, loaded


def main() -> None:
    """Try the mutants of an area; write JSON, and print those that survive."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--area", choices=AREAS, action="append", help="default: all")
    parser.add_argument("--sample", type=int, default=0, help="mutants of an area; default: all")
    parser.add_argument("--minutes", type=float, default=math.inf, help="most time for an area")
    parser.add_argument("--again", action="store_true", help="only those that survived last time")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for results")
    options = parser.parse_args()
    os.chdir(ROOT)
    prepare()
    options.out.mkdir(parents=True, exist_ok=True)
    left = 0
    for area in options.area or AREAS:
        with tempfile.TemporaryDirectory() as work:
            left += try_area(area, options, Path(work))
    sys.exit(left > 0)


def try_area(area: str, options: argparse.Namespace, work: Path) -> int:
    """Try the mutants of one area and return how many survive."""
    file = options.out / f"mutation-{area}.json"
    tests = AREAS[area].tests
    tried: Iterable[Mutant] = chosen(area, options.sample)
    if options.again:
        before = {tuple(one["key"]) for one in json.loads(file.read_text())["survived"]}
        tried = [one for one in tried if one.key in before]
    said, usual = outcome(None, tests, WAIT, work)
    if said != "passed":
        sys.exit(f"{area}: the tests fail without any fault:\n{(work / 'said').read_text()}")
    print(f"{area}: tests and compiling take {usual:.0f} s of a processor", flush=True)
    outcomes: Counter[str] = Counter()
    survived: list[dict[str, Any]] = []
    began = time.monotonic()
    for one in tried:
        said, _ = outcome(one, tests, 20 + 2 * int(usual), work)
        outcomes[said] += 1
        if said == "passed":
            survived.append({"key": one.key, "line": one.line})
            print(f"{one.source}:{one.line}\n  - {one.before}\n  + {one.after}", flush=True)
        if time.monotonic() - began > 60 * options.minutes:
            break
    took = time.monotonic() - began
    print(f"{area}: {dict(outcomes)} in {took:.0f} s", flush=True)
    about = {"outcomes": outcomes, "seconds": round(took)}
    file.write_text(json.dumps({**about, "survived": survived}, indent=1) + "\n")
    return len(survived)


if __name__ == "__main__":
    main()
