#!/usr/bin/env python3
"""Writes vim.txt: names, order and types of the fields of the part of the vSphere API that is served.

Usage: generate.py GOVMOMI/vim25 > vim.txt

The facts are read from the Go bindings of govmomi (vim25/types/types.go and vim25/mo/mo.go), which
are made from the published API definition.  Which types and methods are wanted stands in want.txt.
"""

import pathlib
import re
import sys

PRIMITIVES = {
    "string": "string", "bool": "boolean", "int32": "int", "int64": "long", "int16": "short",
    "byte": "byte", "uint8": "byte", "float32": "float", "float64": "double",
    "time.Time": "dateTime", "AnyType": "anyType", "ByteSlice": "byte[]",
}
FIELD = re.compile(r'^\t(\w+)\s+(\S+)\s+`(.*)`')
EMBEDDED = re.compile(r'^\t([A-Z]\w+)$')


def wire_type(go, optional):
    """The API's name of a Go type, with [] for arrays and ? for optional."""
    array = go.startswith("[]")
    go = go.removeprefix("[]")
    if go.startswith("*"):
        go, optional = go[1:], True
    go = go.removeprefix("types.")
    if array and go == "byte":
        return "base64Binary" + "?" * optional
    if array and go == "[]byte":
        return "base64Binary[]" + "?" * optional
    name = PRIMITIVES.get(go)
    if name is None:
        name = go[4:] if go.startswith("Base") and go[4:5].isupper() and go not in REAL_BASE else go
        name = {"AnyType": "anyType"}.get(name, name)
    return name + "[]" * array + "?" * optional


REAL_BASE = {"BaseConfigInfo", "BaseConfigInfoBackingInfo"}


def structs(text):
    """Every struct: name -> (base, [(field, type)])."""
    found = {}
    for match in re.finditer(r'^type (\w+) struct \{\n(.*?)^\}', text, re.M | re.S):
        base, fields = None, []
        for line in match.group(2).splitlines():
            if embedded := EMBEDDED.match(line):
                base = embedded.group(1)
            elif field := FIELD.match(line):
                tags = dict(re.findall(r'(\w+):"([^"]*)"', field.group(3)))
                tag = tags.get("xml", tags.get("json", "")).split(",")
                optional = "omitempty" in tags.get("xml", "") or "xml" not in tags
                fields.append((tag[0], wire_type(field.group(2), optional)))
        found[match.group(1)] = (base, fields)
    return found


def line(name, base, fields):
    base = f":{base}" if base else ""
    return " ".join([name + base] + [f"{field}={kind}" for field, kind in fields])


def main():
    vim25 = pathlib.Path(sys.argv[1])
    types_text = (vim25 / "types/types.go").read_text()
    data = structs(types_text)
    managed = structs((vim25 / "mo/mo.go").read_text())
    alias = dict(re.findall(r'^type (\w+) (\w+RequestType)$', types_text, re.M))
    want = [line for line in pathlib.Path(__file__).with_name("want.txt").read_text().split("\n")
            if line and not line.startswith("#")]
    section = {}
    for entry in want:
        kind, *names = entry.split()
        section.setdefault(kind, []).extend(names)

    print("# Written by generate.py from want.txt; see there.  type:base field=type, ? optional, [] array.")
    print("\n[data]")
    wanted = set()
    for name in section["data"]:
        while name and name not in wanted and name in data:
            wanted.add(name)
            name = data[name][0]
        if name and name not in data:
            sys.exit(f"no data type {name}")
    for name in sorted(wanted):
        print(line(name, *data[name]))

    print("\n[managed]")
    wanted = set()
    for name in section["managed"]:
        while name and name not in wanted:
            wanted.add(name)
            name = managed[name][0]
    for name in sorted(wanted):
        base, fields = managed[name]
        print(line(name, base, [f for f in fields if f[0] != "self"]))

    print("\n[method]")
    for name in sorted(section["method"]):
        # Newer methods begin in lower case on the wire, but not in Go.
        go = name[0].upper() + name[1:]
        request = alias.get(go, f"{go}RequestType")
        fields = [f for f in data[request][1] if f[0] != "_this"]
        answer = dict(data.get(f"{go}Response", (None, []))[1]).get("returnval", "void")
        print(line(name, answer, fields))


main()
