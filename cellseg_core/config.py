"""The settings of a run: one table that the command line, the TOML file and its docs come from."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from cellseg_core.address import Address, Location, as_location
from cellseg_core.component import KINDS, Kind
from cellseg_core.errors import ConfigurationError, nearest
from cellseg_core.features import Features
from cellseg_core.length import Length
from cellseg_core.pipeline import DEFAULT_SEGMENTER, Pipeline
from cellseg_core.plugins import Plugins

__all__ = ["RunConfig", "as_toml", "option_name", "parse_setting"]


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, (list, tuple)) or not all(isinstance(v, str) for v in value):
        raise ConfigurationError(f"expected names, separated by commas; got {value!r}")
    return tuple(name.strip() for name in value if name.strip())


def _optional_path(value: Any) -> Path | None:
    if value is None or value == "":
        return None
    if not isinstance(value, (str, Path)):
        raise ConfigurationError(f"expected the path of a file; got {value!r}")
    return Path(value)


def _optional_location(value: Any) -> Location | None:
    typed = isinstance(value, (str, Address)) and value != ""
    return as_location(value) if typed else _optional_path(value)


def _name(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not (isinstance(value, str) and value):
        raise ConfigurationError(f"{option_name(attribute)} is a name; got {value!r}")


def _yes_or_no(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, bool):
        raise ConfigurationError(f"{attribute.name} is true or false; got {value!r}")


def _brightness(value: Any) -> float | str:
    if isinstance(value, str) and value not in ("auto", "each"):
        try:
            return float(value)
        except ValueError:
            return value
    kept: float | str = value
    return kept


def _length(value: Any) -> float | str:
    """Return a number of px as a number, whether or not it came as text."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        kept: float | str = value
        return kept
    return int(number) if math.isfinite(number) and number == int(number) else number


def _is_length(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    Length.of(value, option_name(attribute))


def _are_features(_: object, __: object, value: Any) -> None:
    Features.of(value)


_LARGEST = 10**9


def _number(low: float, *, inclusive: bool = True, whole: bool = False) -> Any:
    def check(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value is None or (attribute.name == "brightness" and value in ("auto", "each")):
            return
        kinds = (int,) if whole else (int, float)
        good = isinstance(value, kinds) and not isinstance(value, bool)
        if not (good and (value >= low if inclusive else value > low) and value <= _LARGEST):
            what = "whole number" if whole else "number"
            bound = f"of {low:g} or more" if inclusive else f"over {low:g}"
            raise ConfigurationError(f"{option_name(attribute)} is a {what} {bound}; got {value!r}")

    return check


def _one_of(*choices: str) -> Any:
    def check(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value not in choices:
            raise ConfigurationError(
                f"{option_name(attribute)} is one of {', '.join(choices)}; got {value!r}"
            )

    return check


def _option(
    default: Any, help_text: str, metavar: str = "", *, example: str = "", **kwargs: Any
) -> Any:
    metadata = {"help": help_text, "metavar": metavar, "example": example}
    return attrs.field(default=default, metadata=metadata, **kwargs)


def option_name(attribute: attrs.Attribute[Any]) -> str:
    """Return the name of a setting on the command line: ``--nuclear-diameter``."""
    return f"--{attribute.name.replace('_', '-')}"


def _settings(value: Any) -> dict[str, dict[str, Any]]:
    """Return ``{"csv": {"style": ...}}`` from that, or from ``{"csv.style": ...}``."""
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"set is a table of component options; got {value!r}")
    options: dict[str, dict[str, Any]] = {}
    for key, inner in value.items():
        owner, dot, option = key.partition(".")
        if dot:
            options.setdefault(owner, {})[option] = inner
        elif isinstance(inner, Mapping):
            options.setdefault(owner, {}).update(inner)
        else:
            raise ConfigurationError(f"set.{owner} is a table of options; got {inner!r}")
    return {owner: given for owner, given in options.items() if given}


@attrs.frozen(kw_only=True)
class RunConfig:
    """Every setting of ``cellseg run``; each field is an option and a key of the TOML file."""

    nuclear: tuple[str, ...] = _option(
        (),
        "Channel that shows the nuclei; several, separated by commas, are averaged. "
        "Needed unless the image has one channel or one with a name like DAPI or Hoechst.",
        "NAME[,NAME]",
        converter=_names,
        example='["DAPI"]',
    )
    membrane: tuple[str, ...] = _option(
        (),
        "Channel that shows cell membranes, for segmenters that use one: cellpose with weights for "
        "cells, such as cyto3.",
        "NAME[,NAME]",
        converter=_names,
        example='["CD45"]',
    )
    channels: Path | None = _option(
        None,
        "File with the channel names, one a line or a CSV with a column 'name', in the order of "
        "the image. Replaces the names that the image has.",
        "FILE",
        converter=_optional_path,
        example='"channelNames.txt"',
    )
    layout: str = _option(
        "auto",
        "How to read a folder: 'images' (each file is an image), 'channels' (each file is a "
        "channel of one image), 'codex' (each CODEX tile is an image) or 'mosaic' (the CODEX tiles "
        "of a region are put together). 'auto' takes one of the first three, and says so.",
        "auto|images|channels|codex|mosaic",
        validator=_one_of("auto", "images", "channels", "codex", "mosaic"),
    )
    pixel_size: float | None = _option(
        None,
        "Edge of a pixel in um, where the file does not say or is wrong.",
        "UM",
        validator=_number(0, inclusive=False),
        example="0.5",
    )
    segmenter: str = _option(
        DEFAULT_SEGMENTER,
        "What finds the nuclei: maskrcnn, stardist, cellpose, watershed, or what a plugin brings; "
        "`cellseg plugins` lists them.",
        "NAME",
        validator=_name,
    )
    nuclear_diameter: float | None = _option(
        None,
        "Typical diameter of a nucleus in px. Default: estimated for each image; give it to treat "
        "all images of a study alike.",
        "PX",
        validator=_number(0, inclusive=False),
        example="14",
    )
    brightness: float | str = _option(
        "auto",
        "Correction of the brightness that nuclei are segmented at: 2 is twice as bright, 0.5 half "
        "as bright as 'auto'. 'auto' makes the 99.98th percentile of all images white, 'each' that "
        "of each image by itself: for images that do not belong together.",
        "FACTOR|auto|each",
        converter=_brightness,
        validator=_number(0, inclusive=False),
    )
    reference: Location | None = _option(
        None,
        "Image whose brightness sets the scale for all, instead of all images together.",
        "IMAGE",
        converter=_optional_location,
        example='"slides/one.ome.tif"',
    )
    min_size: int = _option(
        20, "Nuclei with fewer pixels are removed.", "PX", validator=_number(0, whole=True)
    )
    expand: float | str = _option(
        0,
        "Grow nuclei into cells by this many px (1 or 2 is usual), or um, rounded to whole px: "
        "1um.",
        "PX|UMum",
        converter=_length,
        validator=_is_length,
    )
    expander: str = _option("sequential", "How nuclei are grown.", "NAME", validator=_name)
    compensate: bool = _option(
        False, "Take out signal that bled in from neighbouring cells.", validator=_yes_or_no
    )
    compensator: str = _option(
        "conserving",
        "How bleed is taken out, with --compensate: 'conserving' and 'boundary' give light back to "
        "the cell it came from, 'contact' is the rule of Goltsev et al. 2018, which dims all.",
        "NAME",
        validator=_name,
    )
    compensate_except: tuple[str, ...] = _option(
        (),
        "Channels that --compensate leaves as they are, such as nuclear stains.",
        "NAME[,NAME]",
        converter=_names,
        example='["DAPI"]',
    )
    features: tuple[str, ...] = _option(
        (),
        "What to measure besides the mean of each channel: shape, nucleus_shape, statistics, "
        "compartments, neighbours, all, or single ones such as median, p90, nucleus_mean, "
        "eccentricity.",
        "NAME[,NAME]",
        converter=_names,
        validator=_are_features,
        example='["shape", "statistics"]',
    )
    write: tuple[str, ...] = _option(
        ("csv", "fcs", "labels", "overlay", "report"),
        "What to write for each image; `cellseg plugins` lists the writers.",
        "NAME[,NAME]",
        converter=_names,
    )
    tile: int | None = _option(
        None,
        "Largest edge of the part of the image that is segmented at a time. Smaller needs less "
        "memory; the cells found are the same. Default: 1024 at the segmenter's magnification.",
        "PX",
        validator=_number(1, whole=True),
        example="1024",
    )
    overlap: int | None = _option(
        None,
        "Px that neighbouring tiles share. Default: what the segmenter needs.",
        "PX",
        validator=_number(0, whole=True),
        example="120",
    )
    skip_failed_tiles: bool = _option(
        False,
        "Leave out parts of an image in which the segmenter fails, with a warning. By default such "
        "an image fails.",
        validator=_yes_or_no,
    )
    set: Mapping[str, Mapping[str, Any]] = _option(
        attrs.Factory(dict),
        "An option of a component, by its kind or name: segmenter.polarity=bright-field, "
        "csv.style=cellseg. Can be repeated. `cellseg init` lists them all.",
        "KIND.OPTION=VALUE",
        converter=_settings,
    )

    def as_dict(self) -> dict[str, Any]:
        """Return the settings by name. Texts, numbers and tables, and paths, are as they are."""
        return attrs.asdict(self, recurse=False)

    def as_record(self) -> dict[str, Any]:
        """Return the settings as JSON holds them, with paths that hold from every folder.

        An option of a component is taken for a path if it is called ``weights``, or has a slash,
        and something is there.
        """
        settings: dict[str, Any] = json.loads(json.dumps(self.as_dict(), default=str))
        for name, value in (("channels", self.channels), ("reference", self.reference)):
            settings[name] = None if value is None else str(value.absolute())
        for options in settings["set"].values():
            for option, value in options.items():
                if isinstance(value, str) and (option == "weights" or "/" in value):
                    options[option] = _absolute(value)
        return settings

    def options(self, kind: Kind, name: str, plugins: Plugins) -> dict[str, Any]:
        """Return the options that ``set`` has for one component, by its kind and by its name.

        Several readers and writers are at work in one run: what is set for their kind goes to
        those that have such an option.
        """
        general = self.set.get(kind, {})
        if general and kind in ("reader", "writer"):
            accepted = plugins.accepted_options(kind, name)
            general = {option: value for option, value in general.items() if option in accepted}
        return {**general, **self.set.get(name.rpartition("/")[2], {})}

    def check_options(self, plugins: Plugins) -> None:
        """Check that everything in ``set`` belongs to a component that there is.

        Raises
        ------
        ConfigurationError
            If not; the message has the nearest name.
        """
        owners = [*KINDS, *dict.fromkeys(entry.name for entry in plugins.components)]
        for owner, options in self.set.items():
            if owner not in owners:
                raise ConfigurationError(
                    f"--set {owner}...: no component and no kind of component has this name; "
                    f"{nearest(owner, owners)}."
                )
            known = plugins.accepted_by(owner)
            for option in options:
                if option not in known:
                    used = self._accepted_by_used(owner, plugins) or known
                    raise ConfigurationError(
                        f"no {owner} has the option {option!r}; {nearest(option, used)}."
                    )
                if option == "distance" and "expander" in (owner, *self._kinds(owner, plugins)):
                    raise ConfigurationError("the distance to grow is set by --expand.")

    def without_effect(self, plugins: Plugins) -> list[str]:
        """Return what is set and changes nothing, each in a sentence that says why."""
        defaults = RunConfig()
        needs = {
            "compensator": (self.compensate, "--compensate"),
            "compensate_except": (self.compensate, "--compensate"),
            "expander": (Length.of(self.expand).value > 0, "--expand PX"),
        }
        notes = [
            f"--{name.replace('_', '-')} has no effect without {option}."
            for name, (there, option) in needs.items()
            if not there and getattr(self, name) != getattr(defaults, name)
        ]
        used = {name for chosen in self.components(plugins).values() for name in chosen}
        for owner, options in self.set.items():
            kinds = self._kinds(owner, plugins)
            if kinds and "reader" not in kinds and owner not in used:
                shown = ", ".join(f"{owner}.{option}" for option in options)
                notes.append(f"--set {shown} has no effect: {owner} is not used.")
        return notes

    def _accepted_by_used(self, kind: str, plugins: Plugins) -> list[str]:
        """Return the options of the components of a kind that a run uses."""
        return [
            option
            for of, names in self.components(plugins).items()
            if of == kind
            for name in names
            for option in plugins.accepted_by(name)
        ]

    def _kinds(self, name: str, plugins: Plugins) -> list[str]:
        return [entry.kind for entry in plugins.components if entry.name == name]

    def components(self, plugins: Plugins) -> dict[Kind, dict[str, str]]:
        """Return the components that a run uses, by kind and name, with the package of each."""
        names: dict[Kind, Sequence[str]] = {
            "segmenter": [self.segmenter],
            "expander": [self.expander],
            "compensator": [self.compensator] if self.compensate else [],
            "writer": self.write,
        }
        return {
            kind: {name: plugins.find(kind, name).origin for name in chosen}
            for kind, chosen in names.items()
        }

    def pipeline(self, plugins: Plugins) -> Pipeline:
        """Return the pipeline that a run with these settings uses; brightness comes with images."""
        return Pipeline(
            segmenter=self.segmenter,
            expander=self.expander,
            expand_by=self.expand,
            compensator=self.compensator if self.compensate else None,
            compensate_except=self.compensate_except,
            features=self.features,
            nuclear_diameter=self.nuclear_diameter,
            min_size=self.min_size,
            tile=self.tile,
            overlap=self.overlap,
            skip_failed_tiles=self.skip_failed_tiles,
            options={
                "segmenter": self.options("segmenter", self.segmenter, plugins),
                "expander": self.options("expander", self.expander, plugins),
                "compensator": self.options("compensator", self.compensator, plugins),
            },
            plugins=plugins,
        )

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], where: str = "") -> RunConfig:
        """Return the settings in a mapping whose keys are option names, with ``-`` or ``_``.

        Raises
        ------
        ConfigurationError
            If a key is unknown (the nearest is named) or a value makes no sense.
        """
        try:
            return cls(**cls.normal_keys(values, where or "the settings"))
        except ConfigurationError as error:
            raise ConfigurationError(f"{where}: {error}" if where else str(error)) from None

    @classmethod
    def normal_keys(cls, values: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Return the mapping with the names of fields for keys.

        Raises
        ------
        ConfigurationError
            If a key is unknown; the message has the nearest.
        """
        known = [field.name for field in attrs.fields(cls)]
        for key in values:
            if key.replace("-", "_") not in known:
                options = [name.replace("_", "-") for name in known]
                raise ConfigurationError(
                    f"{where}: there is no setting {key!r}; {nearest(key, options)}."
                )
        return {key.replace("-", "_"): value for key, value in values.items()}


def _absolute(text: str) -> str:
    try:
        return str(Path(text).absolute()) if Path(text).exists() else text
    except (OSError, ValueError):
        return text


def parse_setting(text: str) -> tuple[str, Any]:
    """Return key and value of ``KIND.OPTION=VALUE``; the value is TOML, or else plain text.

    >>> parse_setting("segmenter.smoothing=0.1"), parse_setting("segmenter.polarity=bright-field")
    (('segmenter.smoothing', 0.1), ('segmenter.polarity', 'bright-field'))
    """
    key, equals, value = text.partition("=")
    if not equals or "." not in key:
        raise ConfigurationError(
            f"--set takes KIND.OPTION=VALUE, for example segmenter.polarity=bright-field; "
            f"got {text!r}"
        )
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):
        return key.strip(), value.strip()


def as_toml(value: Any) -> str:
    """Return a plain value as TOML writes it.

    >>> as_toml(("csv", "fcs")), as_toml(True), as_toml(0.5)
    ('["csv", "fcs"]', 'true', '0.5')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(as_toml, value))}]"
    # JSON's strings are TOML's basic strings but for the character DEL.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
