"""Damage to XML, JSON, TOML and lists of names that keeps most of their grammar."""

from __future__ import annotations

import copy
import json
import re
from random import Random
from typing import Any
from xml.etree import ElementTree as ET

from fuzzing.bytewise import damage_bytes

__all__ = ["damage_text"]

NUMBERS = (
    "0", "-1", "1", "2", "3", "1e999", "-1e308", "nan", "inf", "1.5", "2147483647", "2147483648",
    "4294967296", "9223372036854775808", "99999999999999999999999999", "0x10", "1_000",
    "1" + "0" * 400, "١٢", "",
)  # fmt: skip
WORDS = (
    "", " ", "DAPI", "XYZCT", "CZT", "uint16", "float", "bit", "complex", "\u0000", "\ud7ff", "µm",
    "../../etc/passwd", "/", ".", "..", "a" * 5000, "{}", "%s", "\n", "0", "A/1", "true", "max",
)  # fmt: skip
_DEEP = "<x>" * 50
_BILLION = (
    '<!DOCTYPE l [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">'
    + "".join(f'<!ENTITY {n} "{f"&{o};" * 9}">' for o, n in zip("bcdefgh", "cdefghi", strict=True))
    + "]>"
)


def damage_text(data: bytes, random: Random) -> tuple[bytes, str]:
    """Return the text with one piece of damage that fits what it is, and what was done."""
    text = data.decode("utf-8", errors="replace")
    if random.random() < 0.15:
        return damage_bytes(data, random)
    if _DEEP in text:
        return damage_bytes(data, random)
    if text.lstrip().startswith("<"):
        return _xml(text, random)
    if text.lstrip().startswith(("{", "[{")):
        return _json(text, random)
    return _lines(text, random)


def _xml(text: str, random: Random) -> tuple[bytes, str]:
    if random.random() < 0.05:
        head = _BILLION + re.sub(r"^<\?xml.*?\?>", "", text, flags=re.DOTALL)
        return head.replace('Name="', 'Name="&i;', 1).encode(), "xml: entities"
    try:
        root = ET.fromstring(re.sub(r"^<\?xml.*?\?>", "", text, flags=re.DOTALL))  # noqa: S314 - made here
    except ET.ParseError:
        return damage_bytes(text.encode(), random)
    elements = list(root.iter())
    parents = {child: parent for parent in elements for child in parent}
    one = random.choice(elements)
    name = one.tag.rsplit("}", 1)[-1]
    way = random.choice(("attribute", "attribute", "attribute", "left out", "doubled", "nested"))
    if way == "attribute":
        having = [element for element in elements if element.attrib]
        if not having:
            one.text = random.choice(NUMBERS + WORDS)
            return _written(root), f"xml: {name} text"
        one = random.choice(having)
        key = random.choice(sorted(one.attrib))
        if random.random() < 0.2:
            del one.attrib[key]
        else:
            one.set(key, random.choice(NUMBERS if random.random() < 0.7 else WORDS))
        return _written(root), f"xml: {one.tag.rsplit('}', 1)[-1]}.{key}"
    if way == "nested":
        deep = "<x>" * (count := random.choice((3, 100, 20_000))) + "</x>" * count
        return text.replace("</", deep + "</", 1).encode(), f"xml: {count} deep"
    if one in parents:
        inside = parents[one]
        if way == "left out":
            inside.remove(one)
        else:
            for _ in range(1 if len(text) > 100_000 else random.choice((1, 2, 300))):
                inside.append(copy.deepcopy(one))
    return _written(root), f"xml: {name} {way}"


def _written(root: ET.Element) -> bytes:
    try:
        return ET.tostring(root, encoding="utf-8").replace(b"ns0:", b"").replace(b":ns0", b"")
    except ValueError:  # a text that XML cannot hold
        return b"<OME/>"


def _json(text: str, random: Random) -> tuple[bytes, str]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return damage_bytes(text.encode(), random)
    places: list[tuple[Any, Any]] = []
    _collect(document, places)
    if not places:
        return damage_bytes(text.encode(), random)
    holder, key = random.choice(places)
    way = random.choice(("value", "value", "value", "left out", "doubled", "swapped", "deep"))
    if way == "value":
        holder[key] = _value(random)
    elif way == "left out":
        del holder[key]
    elif way == "doubled" and isinstance(holder, list):
        holder.extend([holder[key]] * (1 if len(text) > 100_000 else random.choice((1, 2, 500))))
    elif way == "doubled":
        holder[f"{key}2"] = holder[key]
    elif way == "swapped":
        other, second = random.choice(places)
        holder[key] = copy.deepcopy(other[second])
    else:
        written = json.dumps(document)
        count = random.choice((50, 100_000))
        return written[:-1].encode() + b', "x": ' + b"[" * count + b"]" * count + b"}", "json: deep"
    return json.dumps(document).encode(), f"json: {key} {way}"


def _collect(node: Any, places: list[tuple[Any, Any]]) -> None:
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        places.append((node, key))
        if isinstance(value, (dict, list)):
            _collect(value, places)


def _value(random: Random) -> Any:
    numbers: tuple[Any, ...] = (
        0, 1, -1, 2, 1.5, -0.5, 2**31, 2**40, 2**63, 2**64, 10**30, 1e308, float("nan"),
        float("inf"), True, False, None, [], {}, [[]], [0], [1, 2, 3], [2**40] * 3, {"name": "x"},
    )  # fmt: skip
    return random.choice(numbers if random.random() < 0.7 else WORDS)


def _lines(text: str, random: Random) -> tuple[bytes, str]:
    """Damage a text of lines: TOML, or names."""
    lines = text.split("\n")
    at = random.randrange(len(lines))
    key, equals, value = lines[at].lstrip("# ").partition("=")
    way = random.choice(("value", "value", "value", "left out", "doubled", "swapped", "deep"))
    if way == "value" and equals:
        lines[at] = f"{key}= {_toml(value, random)}"
    elif way == "value":
        lines[at] = random.choice(NUMBERS + WORDS)
    elif way == "left out":
        del lines[at]
    elif way == "doubled":
        lines[at:at] = [lines[at]] * (1 if len(lines[at]) > 1000 else random.choice((1, 2, 2000)))
    elif way == "swapped":
        other = random.randrange(len(lines))
        lines[at], lines[other] = lines[other], lines[at]
    else:
        count = random.choice((10, 100_000))
        lines[at] = f"{key or 'x'}= " + "[" * count + "]" * count
    return "\n".join(lines).encode("utf-8", errors="replace"), f"lines: {way}"


def _toml(value: str, random: Random) -> str:
    word = json.dumps(random.choice(WORDS))
    number = random.choice(NUMBERS)
    return random.choice(
        (number, word, f"[{word}, {number}]", "{}", "[]", f"{{x = {number}}}", "true", value[1:],
         f"[{value}]", "1979-05-27", '"' + number + '"')
    )  # fmt: skip
