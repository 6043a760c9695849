#!/usr/bin/env python3
"""Writes the Unicode tables of src/token from Python's unicodedata.

    tools/make_unicode.py [--check]

--check writes nothing and fails when a table is not what this script makes. Another Python may know a
later Unicode: then code points that were not assigned before change their class, and the tables with them.
"""
import pathlib
import sys
import unicodedata

TOKEN = pathlib.Path(__file__).resolve().parent.parent / "src" / "token"
CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
WHITE_SPACE = {*range(0x9, 0xE), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F,
               0x205F, 0x3000}
# Other_Alphabetic that is no mark: circled and squared Latin letters.
OTHER_WORD = {0x200C, 0x200D, *range(0x24B6, 0x24EA), *range(0x1F130, 0x1F14A),
              *range(0x1F150, 0x1F16A), *range(0x1F170, 0x1F18A)}
HANGUL = range(0xAC00, 0xAC00 + 11172)


def category(c):
    return unicodedata.category(chr(c))


def is_word(c):
    """What \\w of a regular expression matches: alphabetic, marks, decimal digits, connectors, joiners."""
    return category(c)[0] in "LM" or category(c) in ("Nd", "Nl", "Pc") or c in OTHER_WORD


def ranges(members):
    out = []
    for c in members:
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def rows(items):
    """The items, as many on a line as 100 columns take."""
    lines, line = [], "   "
    for item in items:
        if len(line) + len(item) + 2 > 100:
            lines.append(line)
            line = "   "
        line += f" {item},"
    return "\n".join([*lines, line])


def table(comment, kind, name, items):
    return f"// {comment}\nconstexpr {kind} {name}[] = {{\n{rows(items)}\n}};\n"


def head(what):
    return (f"// {what}, of Unicode {unicodedata.unidata_version}. Made by tools/make_unicode.py.\n"
            "// clang-format off\n")


def classes():
    def of(comment, name, test):
        found = ranges(c for c in CODE_POINTS if test(c))
        return table(comment, "Range", name, [f"{{0x{a:X},0x{b:X}}}" for a, b in found])

    return "\n".join([
        head("Classes of code points, as ranges"),
        of("\\p{L}", "kLetters", lambda c: category(c)[0] == "L"),
        of("\\p{N}", "kNumbers", lambda c: category(c)[0] == "N"),
        of("White_Space", "kSpaces", lambda c: c in WHITE_SPACE),
        of("\\w that is neither \\p{L} nor \\p{N}", "kOtherWords",
           lambda c: is_word(c) and category(c)[0] not in "LN"),
        of("\\p{N} that is not \\w", "kNumbersNoWords",
           lambda c: category(c)[0] == "N" and not is_word(c)),
    ])


def composition():
    pairs, apart, singles = [], [], []
    for c in CODE_POINTS:
        parts = unicodedata.decomposition(chr(c)).split()
        if not parts or parts[0].startswith("<") or c in HANGUL:
            continue
        first, second = int(parts[0], 16), int(parts[1], 16) if len(parts) > 1 else 0
        composes = second != 0 and unicodedata.normalize("NFC", chr(first) + chr(second)) == chr(c)
        if second == 0:
            singles.append(f"{{0x{c:X},0x{first:X}}}")
        else:
            (pairs if composes else apart).append(f"{{0x{c:X},0x{first:X},0x{second:X}}}")
    orders = []
    for c in CODE_POINTS:
        order = unicodedata.combining(chr(c))
        if order and orders and orders[-1][1] == c - 1 and orders[-1][2] == order:
            orders[-1][1] = c
        elif order:
            orders.append([c, c, order])
    return "\n".join([
        head("Canonical composition"),
        table("A code point and the two that it is made of, both ways; Hangul syllables are computed.",
              "Pair", "kComposed", pairs),
        table("As above, but never put together again.", "Pair", "kApart", apart),
        table("A code point and the other one that it is.", "Single", "kSingles", singles),
        table("Canonical_Combining_Class where it is not 0: first, last, class.", "Order", "kOrders",
              [f"{{0x{a:X},0x{b:X},{n}}}" for a, b, n in orders]),
    ])


def main():
    stale = 0
    for name, text in (("unicode_classes.inc", classes()), ("unicode_composition.inc", composition())):
        path = TOKEN / name
        if sys.argv[1:] != ["--check"]:
            path.write_text(text)
        elif path.read_text() != text:
            print(f"{path} is not what {sys.argv[0]} makes of Unicode {unicodedata.unidata_version}")
            stale += 1
    return stale != 0


if __name__ == "__main__":
    sys.exit(main())
