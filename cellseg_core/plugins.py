"""Discovery and look-up of components, and reports of what is missing or broken.

Three levels, each only when it is needed: *discover* (read entry points and the light tables
behind them), *check* (are the packages of a component installed? nothing is imported), *build*
(import the class and construct it with the user's options).
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from typing import Any

import attrs
import pluggy

from cellseg_core import hookspecs
from cellseg_core.component import KINDS, Component, Kind
from cellseg_core.errors import (
    CellsegError,
    ComponentError,
    ConfigurationError,
    MissingPackageError,
    nearest,
)

__all__ = ["Plugins", "Problem", "Registered", "load_plugins"]

GROUP = "cellseg"


@attrs.frozen
class Registered:
    """A component together with its kind and the distribution that brought it."""

    kind: Kind
    component: Component
    origin: str

    @property
    def name(self) -> str:
        """Return the name that users type."""
        return self.component.name

    def missing(self) -> str | None:
        """Return why the component cannot run here, or None if it can. Imports nothing.

        Packages are looked up by their metadata, the component's module by its file.
        """
        from packaging.requirements import InvalidRequirement, Requirement

        for text in self.component.requires:
            try:
                requirement = Requirement(text)
            except InvalidRequirement as error:
                return f"its requirement {text!r} cannot be understood: {error}"
            if requirement.marker is not None and not requirement.marker.evaluate():
                continue
            try:
                installed = version(requirement.name)
            except PackageNotFoundError:
                return f"needs {text}, which is not installed"
            if not requirement.specifier.contains(installed, prereleases=True):
                return f"needs {text}; {requirement.name} {installed} is installed"
        module, _, _ = self.component.factory.partition(":")
        if not _module_exists(module):
            return f"its module {module!r} does not exist"
        return None

    def load(self) -> Any:
        """Import and return the component's class.

        Raises
        ------
        MissingPackageError
            If a package that it needs is absent or of the wrong version.
        ComponentError
            If its code cannot be imported; the message names the distribution.
        """
        return self._imported(self.component.factory)

    def load_trainer(self) -> Any:
        """Import and return the class that trains the component.

        Raises
        ------
        ComponentError
            If it has none, or its code cannot be imported.
        MissingPackageError
            If a package that the component needs is absent or of the wrong version.
        """
        if self.component.trainer is None:
            raise ComponentError(f"{self.kind} {self.name!r} cannot be trained.")
        return self._imported(self.component.trainer)

    def _imported(self, place: str) -> Any:
        missing = self.missing()
        install = self.component.install
        if missing is not None and self.component.requires:
            remedy = f" Install it with: {install}" if install else ""
            raise MissingPackageError(f"{self.kind} {self.name!r} {missing}.{remedy}")
        module, _, attribute = place.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except Exception as error:
            raise ComponentError(
                f"{self.kind} {self.name!r} of {self.origin} is broken: importing "
                f"{place} failed ({_say(error)}). Update or reinstall "
                f"{self.origin}, or report it to its authors."
            ) from error


@attrs.frozen
class Problem:
    """A plugin, or an entry of one, that could not be used; the rest works on."""

    name: str
    origin: str
    reason: str
    remedy: str


@attrs.frozen
class Plugins:
    """Every component that was found, in a stable order, and every problem on the way."""

    components: tuple[Registered, ...] = ()
    problems: tuple[Problem, ...] = ()

    def of_kind(self, kind: Kind) -> list[Registered]:
        """Return the components of one kind."""
        return [entry for entry in self.components if entry.kind == kind]

    def find(self, kind: Kind, name: str) -> Registered:
        """Return the component of that name; ``origin/name`` chooses between two of one name.

        Raises
        ------
        ComponentError
            If none or several have the name; the message lists the nearest, or the providers.
        """
        entries = self.of_kind(kind)
        origin, _, plain = name.rpartition("/")
        found = [
            entry
            for entry in entries
            if entry.name == plain and origin in ("", entry.origin, entry.origin.split()[0])
        ]
        if len(found) == 1:
            return found[0]
        if found:
            first = found[0].origin.split()[0]
            raise ComponentError(
                f"{kind} {plain!r} is provided by {' and by '.join(e.origin for e in found)}. "
                f"Uninstall one of them, or name the one you want, for example {first}/{plain}."
            )
        broken = "".join(
            f" (Not loaded: {problem.name} of {problem.origin}: {problem.reason})"
            for problem in self.problems
        )
        names = dict.fromkeys(entry.name for entry in entries)
        raise ComponentError(
            f"there is no {kind} named {name!r}; {nearest(name, names)}."
            f" `cellseg plugins` shows them all.{broken}"
        )

    def accepted_options(self, kind: Kind, name: str) -> tuple[str, ...]:
        """Return the names of a component's options. Its code is imported for that."""
        return tuple(inspect.signature(self.find(kind, name).load()).parameters)

    def accepted_by(self, owner: str) -> tuple[str, ...]:
        """Return the options of all components of a kind, or of a name, that can run here."""
        found: dict[str, None] = {}
        for entry in self.components:
            if owner not in (entry.kind, entry.name) or entry.missing() is not None:
                continue
            try:
                found |= dict.fromkeys(inspect.signature(entry.load()).parameters)
            except ComponentError:
                # It is reported when it is asked for; the others work.
                continue
        return tuple(found)

    def build(self, kind: Kind, name: str, options: Mapping[str, Any] | None = None) -> Any:
        """Return the component, constructed with ``options``.

        Raises
        ------
        ComponentError
            If it is unknown, provided twice, broken, or has no such option.
        MissingPackageError
            If a package that it needs is absent; the message has the command that installs it.
        ConfigurationError
            If an option has a value that it does not accept.
        """
        entry = self.find(kind, name)
        return _construct(entry, entry.load(), f"{kind} {name!r}", options or {})

    def build_trainer(self, name: str, options: Mapping[str, Any] | None = None) -> Any:
        """Return the :class:`~cellseg_core.protocols.Trainer` of a segmenter.

        Raises
        ------
        ComponentError
            If the segmenter is unknown, cannot be trained, is broken, or its trainer has no such
            option.
        MissingPackageError
            If a package that it needs is absent; the message has the command that installs it.
        ConfigurationError
            If an option has a value that it does not accept.
        """
        entry = self.find("segmenter", name)
        if entry.component.trainer is None:
            able = [e.name for e in self.of_kind("segmenter") if e.component.trainer is not None]
            raise ComponentError(
                f"segmenter {name!r} cannot be trained. "
                + (
                    f"Those that can: {', '.join(able)}; choose one with --segmenter."
                    if able
                    else "None of those installed can."
                )
            )
        what = f"the trainer of segmenter {name!r}"
        return _construct(entry, entry.load_trainer(), what, options or {})


def _construct(entry: Registered, factory: Any, what: str, given: Mapping[str, Any]) -> Any:
    """Return what ``factory`` makes of the options; ``what`` is its name in messages."""
    options = dict(given)
    accepted = inspect.signature(factory).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in accepted.values())
    for option in options:
        if option not in accepted and not takes_any:
            raise ComponentError(f"{what} has no option {option!r}; {nearest(option, accepted)}.")
    try:
        return factory(**options)
    except CellsegError:
        raise
    except (TypeError, ValueError) as error:
        told = ", ".join(f"{key}={value!r}" for key, value in options.items())
        raise ConfigurationError(
            # Validators of attrs have more than a sentence in their errors.
            f"{what} does not accept {told or 'its defaults'}: {(*error.args, error)[0]}"
        ) from error
    except Exception as error:
        raise ComponentError(
            f"{what} of {entry.origin} is broken: building it failed ({_say(error)})."
            f" Update or reinstall {entry.origin}, or report it to its authors."
        ) from error


def load_plugins(entries: Iterable[EntryPoint] | None = None) -> Plugins:
    """Return the components of all installed plugins.

    A plugin that cannot be imported, implements an unknown hook, raises, or returns something
    else than components becomes a :class:`Problem`; the others are not affected.

    Parameters
    ----------
    entries
        Entry points to use in place of those installed under the group ``cellseg``.
    """
    if entries is None:
        entries = entry_points(group=GROUP)
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    components: list[Registered] = []
    problems: list[Problem] = []
    for entry in sorted(
        entries, key=lambda e: (_origin(e) != _origin_of_core(), _origin(e), e.name)
    ):
        origin = _origin(entry)

        def report(reason: str, remedy: str, name: str = entry.name, origin: str = origin) -> None:
            problems.append(Problem(name, origin, reason, remedy))

        update = f"update or reinstall {origin}, or report it to its authors"
        try:
            plugin = entry.load()
            manager.register(plugin, name=f"{origin}: {entry.name}")
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may fail in any way
            report(f"{entry.value} cannot be loaded ({_say(error)})", update)
            continue
        found = False
        for caller in manager.get_hookcallers(plugin) or []:
            found = True
            kind = _kind_of(caller.name)
            if kind is None:
                hooks = [f"cellseg_{kind}s" for kind in KINDS]
                report(f"there is no hook {caller.name}; {nearest(caller.name, hooks)}", update)
                continue
            for implementation in caller.get_hookimpls():
                if implementation.plugin is not plugin:
                    continue
                try:
                    returned = implementation.function()
                except Exception as error:  # noqa: BLE001 - a plugin may fail in any way
                    report(f"{caller.name} raised {_say(error)}", update)
                    continue
                good, bad = _sort_out(returned)
                components += [Registered(kind, component, origin) for component in good]
                for item in bad:
                    report(f"{caller.name} returned {item}, which is not a Component", update)
        if not found:
            report(
                f"{entry.value} implements no hook of cellseg", f"{update} (is @hookimpl there?)"
            )
    return Plugins(tuple(components), tuple(problems))


def _kind_of(hook: str) -> Kind | None:
    return next((kind for kind in KINDS if hook == f"cellseg_{kind}s"), None)


def _sort_out(returned: object) -> tuple[list[Component], list[str]]:
    if not isinstance(returned, Sequence) or isinstance(returned, str):
        return [], [repr(returned)[:200]]
    good = [item for item in returned if isinstance(item, Component)]
    return good, [repr(item)[:200] for item in returned if not isinstance(item, Component)]


def _origin(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown package"


def _origin_of_core() -> str:
    return f"cellseg-core {version('cellseg-core')}"


def _say(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:500]


def _module_exists(name: str) -> bool:
    """Tell whether a module can be found; parents are imported for namespace packages alone."""
    path: Sequence[str] | None = None
    prefix = ""
    for part in name.split("."):
        prefix = f"{prefix}.{part}" if prefix else part
        finders = (finder.find_spec(prefix, path) for finder in sys.meta_path)
        spec = next((spec for spec in finders if spec is not None), None)
        if spec is None:
            return False
        if spec.origin is None:
            # A namespace package: its folders are known only to its parent, once imported.
            return importlib.util.find_spec(name) is not None
        path = spec.submodule_search_locations
        if path is None and prefix != name:
            return False
    return True
