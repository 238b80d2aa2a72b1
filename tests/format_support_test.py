#!/usr/bin/env python3
# Tests that docs/format-support.md names only tests that exist.
import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "format-support.md"

DEFINITION = re.compile(r"^(?:TYPED_)?TEST(?:_F|_P)?\(\s*(\w+)\s*,\s*(\w+)\s*\)", re.MULTILINE)
NAME = re.compile(r"`(\w+\.\w+)`")
EXAMPLES = {"Suite.Test"}


def defined_tests():
    names = set()
    for file in (ROOT / "tests").rglob("*_test.cc"):
        names.update(f"{suite}.{test}" for suite, test in DEFINITION.findall(file.read_text(encoding="utf-8")))
    return names


class FormatSupport(unittest.TestCase):
    def test_every_test_that_the_page_names_exists(self):
        named = set(NAME.findall(PAGE.read_text(encoding="utf-8"))) - EXAMPLES
        self.assertGreater(len(named), 50)
        self.assertEqual(sorted(named - defined_tests()), [])

    def test_every_row_of_a_table_names_a_test(self):
        for line in PAGE.read_text(encoding="utf-8").splitlines():
            if line.startswith("| ") and not line.rstrip(" |").endswith("test"):
                with self.subTest(row=line):
                    self.assertRegex(line, NAME)


if __name__ == "__main__":
    unittest.main()
