#!/usr/bin/env python3
# Tests that each floor includes only headers of the floors below it (docs: a folder is a floor).
import pathlib
import re
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent

# From the ground up. A floor uses itself and those on lower storeys; two on one storey are strangers.
STOREYS = [
    ["base"],
    ["storage", "codec"],
    ["crypto"],
    ["formats"],
    ["formats/raw", "formats/luks", "formats/qcow1", "formats/qcow2"],
    ["image"],
    ["jobs"],
    ["export/nbd"],
    ["cli", "cli/io", "cli/nbd"],
]
STOREY_OF = {floor: number for number, storey in enumerate(STOREYS) for floor in storey}
# Front ends live on the public interface, like everybody else's program.
FRONT_ENDS = {"cli": {"base", "cli", "cli/io", "cli/nbd"}, "export": {"base", "export/nbd"}}
# Public headers that are not for all floors, and the lowest storey that may see them.
LOWEST_READER = {"qcowkit/node.h": "image", "qcowkit/storage.h": "storage", "qcowkit/options.h": "codec", "qcowkit/info.h": "codec",
                 "qcowkit/image.h": "codec", "qcowkit/jobs.h": "jobs",
                 "qcowkit/nbd.h": "export/nbd"}

INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)


def project_includes(file):
    return INCLUDE.findall(file.read_text(encoding="utf-8"))


def sources(folder):
    return sorted(p for p in folder.rglob("*") if p.suffix in (".h", ".cc"))


def fault_of(floor, included, source_root):
    """Why a file of `floor` must not include `included`; None if it may."""
    if included.startswith("qcowkit/"):
        lowest = LOWEST_READER.get(included)
        if lowest and STOREY_OF[floor] < STOREY_OF[lowest]:
            return f"is public from {lowest} upwards"
        return None
    if not (source_root / included).is_file():
        return "is no path from src/"
    other = str(pathlib.PurePosixPath(included).parent)
    if other not in STOREY_OF:
        return "lies on no floor"
    may_use = FRONT_ENDS.get(floor.split("/")[0])
    if may_use:
        return None if other in may_use else "is not public"
    if other != floor and STOREY_OF[other] >= STOREY_OF[floor]:
        return f"lies on {other}, which is not below"
    return None


def faults_in(root):
    found = []
    for file in sources(root / "src"):
        floor = str(file.parent.relative_to(root / "src").as_posix())
        if floor not in STOREY_OF:
            found.append(f"{file}: lies on no floor")
            continue
        for included in project_includes(file):
            fault = fault_of(floor, included, root / "src")
            if fault:
                found.append(f"{file}: {included} {fault}")
    for file in sources(root / "include"):
        for included in project_includes(file):
            if not (root / "include" / included).is_file():
                found.append(f"{file}: {included} is not installed")
    return found


class Floors(unittest.TestCase):
    def test_no_file_includes_what_lies_above_it(self):
        self.assertEqual(faults_in(ROOT), [])

    def test_every_floor_has_files_to_look_at(self):
        for floor in STOREY_OF:
            self.assertTrue(sources(ROOT / "src" / floor), floor)


class FaultsIn(unittest.TestCase):
    def faults_with(self, path, text):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for name in ["src/base/b.h", "src/storage/s.h", "src/codec/c.h", "src/formats/layer.h",
                         "src/formats/raw/r.h", "src/formats/qcow2/q.h", "src/image/i.h",
                         "src/jobs/j.h", "src/export/nbd/n.h", "src/cli/x.h", "include/qcowkit/image.h"]:
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text("")
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
            return faults_in(root)

    def test_downward_is_no_fault(self):
        for path, header in [("src/storage/x.cc", "base/b.h"), ("src/jobs/x.cc", "storage/s.h"),
                             ("src/formats/raw/x.cc", "formats/layer.h"), ("src/cli/x.cc", "base/b.h"),
                             ("src/cli/x.cc", "qcowkit/jobs.h"), ("src/image/x.cc", "image/i.h"),
                             ("include/qcowkit/x.h", "qcowkit/image.h")]:
            with self.subTest(path=path, header=header):
                self.assertEqual(self.faults_with(path, f'#include "{header}"\n'), [])

    def test_upward_sideways_and_elsewhere_are_faults(self):
        for path, header in [("src/base/x.cc", "storage/s.h"), ("src/formats/x.cc", "formats/raw/r.h"),
                             ("src/formats/raw/x.cc", "formats/qcow2/q.h"),
                             ("src/storage/x.cc", "codec/c.h"), ("src/image/x.cc", "jobs/j.h"),
                             ("src/cli/x.cc", "image/i.h"), ("src/export/nbd/x.cc", "image/i.h"),
                             ("src/cli/x.cc", "export/nbd/n.h"), ("src/image/x.cc", "qcowkit/jobs.h"),
                             ("src/base/x.cc", "qcowkit/storage.h"), ("src/base/x.cc", "b.h"),
                             ("src/attic/x.cc", "base/b.h"), ("include/qcowkit/x.h", "base/b.h")]:
            with self.subTest(path=path, header=header):
                self.assertEqual(len(self.faults_with(path, f'  #  include "{header}"\n')), 1)


if __name__ == "__main__":
    unittest.main()
