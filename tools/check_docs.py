#!/usr/bin/env python3
"""Fails when README.md or docs/ name a file of the project that is not there."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PATH = re.compile(r"`((?:src|modules|tests|tools|include|scripts|docs|examples|bench)/[\w./-]+)`")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)\)")


def main():
    missing = named = 0
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for number, line in enumerate(page.read_text().splitlines(), 1):
            paths = [ROOT / name for name in PATH.findall(line)]
            paths += [page.parent / name for name in LINK.findall(line)]
            named += len(paths)
            for path in paths:
                if not path.exists():
                    print(f"{page.relative_to(ROOT)}:{number}: {path} does not exist")
                    missing += 1
    print(f"{named} paths named, {missing} do not exist")
    return missing != 0


if __name__ == "__main__":
    sys.exit(main())
