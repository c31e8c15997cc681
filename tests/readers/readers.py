"""Reads one JSON text a line (base64), and says how different readers understand it.

Numbers are told by the 64 bits of a double, which is all that some readers have; one that a
double cannot hold is marked.
"""

import base64
import json
import struct
import sys

import pydantic_core


def plain(value):
    if isinstance(value, dict):
        members = sorted(value.items(), key=lambda member: member[0].encode("utf-16-be"))
        return ["object"] + [[key, plain(member)] for key, member in members]
    if isinstance(value, list):
        return ["array"] + [plain(item) for item in value]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        # Zero has no sign to those who read it as an integer.
        double = float(value) + 0.0
        inexact = isinstance(value, int) and int(double) != value
        return ["number", struct.pack(">d", double).hex() + ("!" if inexact else "")]
    return value


def first_wins(members):
    read = {}
    for key, value in members:
        read.setdefault(key, value)
    return read


def any_case(text):
    """As readers do that do not tell upper from lower case, where keys are the protocol's."""
    root = {key.casefold(): value for key, value in json.loads(text).items()}
    if isinstance(root.get("params"), dict):
        root["params"] = {key.casefold(): value for key, value in root["params"].items()}
    return root


READERS = {
    "python": json.loads,
    "jiter": pydantic_core.from_json,
    "first wins": lambda text: json.loads(text, object_pairs_hook=first_wins),
    "any case": any_case,
}

for line in sys.stdin:
    text = base64.b64decode(line)
    said = {}
    for name, read in READERS.items():
        root = read(text)
        params = root["params"]
        said[name] = [root["method"], params["name"], plain(params["arguments"])]
    print(json.dumps(said))
