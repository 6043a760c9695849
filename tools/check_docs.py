#!/usr/bin/env python3
"""Fails when README.md or docs/ name a file of the project that is not there, and when the tables of
docs/ERRORS.md are not the statuses of ds_base.h and the failpoints of failpoint.cc, and when a command
line of dspeed in them has a flag that the program has not."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PATH = re.compile(r"`((?:src|modules|tests|tools|include|scripts|docs|examples|bench)/[\w./-]+)`")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)\)")


def compare(what, in_docs, in_source):
    """Prints what only one of the two has; returns how much."""
    for name in sorted(in_docs ^ in_source):
        where = "docs/ERRORS.md" if name in in_docs else "the source"
        print(f"{what} {' '.join(name)} is in {where} alone")
    return len(in_docs ^ in_source)


def check_errors():
    page = (ROOT / "docs" / "ERRORS.md").read_text()
    header = (ROOT / "include" / "deepspeed" / "ds_base.h").read_text()
    statuses = set(re.findall(r"^  (DS_(?:OK|ERR_\w+)) = (\d+),", header, flags=re.M))
    source = (ROOT / "src" / "base" / "failpoint.cc").read_text()
    points = {(name,) for name in re.findall(r'^    \{"([\w.]+)", "', source, flags=re.M)}
    rows = page[page.index("| point |"):].splitlines()
    documented = {(name,) for row in rows for name in re.findall(r"`([\w.]+)`", row.split("|")[1])}
    return (compare("status", set(re.findall(r"^\| `(DS_\w+)` \| (\d+) \|", page, flags=re.M)),
                    statuses) + compare("failpoint", documented, points))


def check_flags(page, text, known):
    """Prints the flags of commands that are in no source of the program; returns how many."""
    wrong = 0
    for command, rest in re.findall(r"(?:^|[\s`/])dspeed ([a-z]+)((?:\\\n|[^`\n|])*)", text):
        for flag in re.findall(r"(?<![\w-])--[a-z][\w-]*", rest):
            if flag not in known:
                print(f"{page.relative_to(ROOT)}: dspeed {command} has no {flag}")
                wrong += 1
    return wrong


def flags_of_the_program():
    known = {"--help", "--version"}
    for source in (ROOT / "tools" / "dspeed").glob("*.cc"):
        known |= set(re.findall(r'add_(?:option|flag)\(\s*"(--[\w-]+)', source.read_text()))
    return known


def main():
    known = flags_of_the_program()
    missing = named = wrong = 0
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = page.read_text()
        wrong += check_flags(page, text, known)
        fenced = False  # what a program printed names nothing
        for number, line in enumerate(text.splitlines(), 1):
            fenced ^= line.startswith("```")
            if fenced:
                continue
            paths = [ROOT / name for name in PATH.findall(line)]
            paths += [page.parent / name for name in LINK.findall(line)]
            named += len(paths)
            for path in paths:
                if not path.exists():
                    print(f"{page.relative_to(ROOT)}:{number}: {path} does not exist")
                    missing += 1
    print(f"{named} paths named, {missing} do not exist")
    return missing + wrong + check_errors() != 0


if __name__ == "__main__":
    sys.exit(main())
