#!/usr/bin/env python3
"""Random command lines, run by the reference and by qcow side by side.

Each case is a few command lines on fresh copies of a small stock of images. Both programs have to
say the same on both streams, end with the same code, leave the same files, and images with the same
content. What differs on purpose is listed in side_by_side.py; of all seeds, some show more that is
known but not worth a rule.

    run.py --tool BUILD/qcow [--program img|io|nbd] [--seed N] [--count N]

A case is made from its seed alone: --seed N --count 1 runs it again.
"""
import argparse
import importlib
import os
import random
import shutil
import sys
import tempfile

import side_by_side

PROGRAMS = ("img", "io", "nbd")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tool", required=True, help="the program qcow")
    parser.add_argument("--program", action="append", choices=PROGRAMS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=100, help="cases of each program")
    parser.add_argument("--keep-going", type=int, default=20, help="differences before it gives up")
    arguments = parser.parse_args()
    if not all(shutil.which(name) for name in ("qemu-img", "qemu-io", "qemu-nbd")):
        print("the reference is not installed: skipped")
        return 0
    differences = lines = 0
    with tempfile.TemporaryDirectory(prefix="qcowkit-lines-") as place:
        workplace = side_by_side.Workplace(place, os.path.abspath(arguments.tool))
        for name in arguments.program or PROGRAMS:
            if name == "nbd" and not (shutil.which("nbdinfo") and shutil.which("nbdcopy")):
                print("there are no NBD clients: servers are left out")
                continue
            grammar = importlib.import_module(name + "_lines")
            for seed in range(arguments.seed, arguments.seed + arguments.count):
                case = grammar.case(random.Random(seed))
                lines += len(case)
                found = workplace.run(case)
                if not found:
                    continue
                differences += 1
                print(f"== {name} --seed {seed}")
                for line in case:
                    print("   $ " + side_by_side.shown(line))
                for text in found:
                    print(text)
                sys.stdout.flush()
                if differences >= arguments.keep_going:
                    print("and so on")
                    return 1
    print(f"{lines} lines, {differences} cases that differ")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
