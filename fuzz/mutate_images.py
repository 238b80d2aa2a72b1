#!/usr/bin/env python3
"""Damages valid images of every kind, runs the whole tool on them and looks at what becomes of it.

    mutate_images.py --tool build/asan/bin/qcow [--seed N] [--count N] [--only SEED...]

Round N of a seed does the same again, alone: `--only N`. A round damages one image in one to three
places and requires of every command: it ends within seconds, with an exit code of its own and bounded
memory and output; commands that read change no byte; `check` calls no image clean whose disk cannot
be read; repairing loses no guest data that was readable; a change of a sound image leaves a sound one.
qemu-img and qemu-io, which must be there, make the images, and qemu-img is asked for its opinion: what it
reads, we read, with the same content. Where the tool is stricter on purpose is said in STRICTER.

Findings go to standard output and end the program with 1. Each is to be looked at: a difference from the
reference may be the reference's fault.
"""

import argparse
import collections
import json
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile

from image_surgery import Anatomy, damage

MIB = 1 << 20
SECONDS_MAX = 10
OUTPUT_BYTES_MAX = MIB
DISK_BYTES_MAX = 64 * MIB
SECRET = ["--object", "secret,id=s,data=passphrase"]
# A sanitizer's own exit codes, so that they are not taken for the tool's.
ENVIRONMENT = dict(os.environ, ASAN_OPTIONS="exitcode=99:detect_leaks=1:allocator_may_return_null=0",
                   UBSAN_OPTIONS="halt_on_error=1:exitcode=98", LC_ALL="C")


# Where the tool refuses what the reference takes, on purpose: structures that do not lie in the file
# are an error, not zeroes.
STRICTER = ("beyond the end of the file", "outside of the refcount table", "backing_file_size is 0",
            "l1_table_offset is", "backing_file_offset is", "zero byte at",
            "snapshots_offset is")


class Outcome:
    def __init__(self, code, out, err, memory, timed_out):
        self.code, self.out, self.err, self.memory, self.timed_out = code, out, err, memory, timed_out

    @property
    def ok(self):
        return self.code == 0


def limit_resources():
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 * MIB, 256 * MIB))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (3 * SECONDS_MAX, 3 * SECONDS_MAX))


class Runner:
    """Runs programs in a folder of their own and remembers how they ended."""

    def __init__(self, folder):
        self.folder = folder
        self.runs = 0

    def __call__(self, *words):
        self.runs += 1
        with open(self.folder + "/.out", "w+b") as out, open(self.folder + "/.err", "w+b") as err:
            process = subprocess.Popen(words, stdout=out, stderr=err, stdin=subprocess.DEVNULL,
                                       env=ENVIRONMENT, preexec_fn=limit_resources)
            signal.signal(signal.SIGALRM, lambda *_: process.kill())
            signal.setitimer(signal.ITIMER_REAL, SECONDS_MAX)
            _, status, usage = os.wait4(process.pid, 0)
            left = signal.setitimer(signal.ITIMER_REAL, 0)[0]
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            err.seek(0)
            return Outcome(process.returncode, out.read(OUTPUT_BYTES_MAX + 1),
                           err.read(OUTPUT_BYTES_MAX).decode(errors="replace"), usage.ru_maxrss * 1024,
                           left <= 0)


class Kind:
    """A kind of image: `words` are the options of create, `steps` what is then done to it."""

    def __init__(self, name, fmt, options="", size="1M", backing=False, secret="", bitmap=False,
                 snapshot=False, compress=False, data_file=False):
        self.name, self.format, self.options, self.size = name, fmt, options, size
        self.backing, self.secret, self.bitmap = backing, secret, bitmap
        self.snapshot, self.compress, self.data_file = snapshot, compress, data_file


KINDS = [
    Kind("v3-64k", "qcow2", snapshot=True, bitmap=True),
    Kind("v3-512", "qcow2", "cluster_size=512", size="256k", snapshot=True, bitmap=True, compress=True),
    Kind("v3-4k-zstd", "qcow2", "cluster_size=4k,compression_type=zstd", compress=True),
    Kind("v3-4k-deflate", "qcow2", "cluster_size=4k", compress=True, backing=True, snapshot=True),
    Kind("v3-2M", "qcow2", "cluster_size=2M", size="5M", snapshot=True),
    Kind("v2-64k", "qcow2", "compat=0.10", snapshot=True, backing=True),
    Kind("v2-512", "qcow2", "compat=0.10,cluster_size=512", size="256k", compress=True),
    Kind("extended", "qcow2", "extended_l2=on,cluster_size=16k", backing=True, snapshot=True),
    Kind("extended-compressed", "qcow2", "extended_l2=on,cluster_size=64k", compress=True),
    Kind("refcount-1", "qcow2", "refcount_bits=1,cluster_size=1k", size="512k"),
    Kind("refcount-4", "qcow2", "refcount_bits=4,cluster_size=4k", snapshot=True, bitmap=True),
    Kind("refcount-64", "qcow2", "refcount_bits=64,cluster_size=4k", snapshot=True),
    Kind("lazy", "qcow2", "lazy_refcounts=on,cluster_size=4k"),
    Kind("data-file", "qcow2", "cluster_size=4k", data_file=True, bitmap=True),
    Kind("luks", "qcow2", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10,cluster_size=4k",
         secret="encrypt.key-secret"),
    Kind("aes", "qcow2", "encrypt.format=aes,encrypt.key-secret=s,cluster_size=4k",
         secret="encrypt.key-secret"),
    Kind("v1", "qcow", backing=True),
    Kind("v1-compressed", "qcow", compress=True),
    Kind("v1-aes", "qcow", "encrypt.format=aes,encrypt.key-secret=s", secret="encrypt.key-secret"),
    Kind("plain-luks", "luks", "key-secret=s,iter-time=10", secret="key-secret"),
]


def pattern(size, seed):
    """Bytes of which no sector is like another, compressible and never zero."""
    sectors = []
    for i in range(size // 512):
        stamp = struct.pack("<II", i + 1, seed) * 4
        sectors.append((stamp + b"\x5a" * 512)[:512])
    return b"".join(sectors)


class Pool:
    """The valid images, made once by the reference."""

    def __init__(self, folder, tool, reference, run):
        self.folder, self.tool, self.reference, self.run = folder, tool, reference, run
        with open(folder + "/base.raw", "wb") as base:
            base.write(pattern(2 * MIB, 7))
        for kind in KINDS:
            self.make(kind)

    def path(self, kind):
        return f"{self.folder}/{kind.name}"

    def must(self, *words):
        outcome = self.run(*words)
        if not outcome.ok:
            raise RuntimeError(f"{words}: {outcome.err}")

    def io(self, kind, path, *commands):
        words = [part for command in commands for part in ("-c", command)]
        if kind.secret:
            options = f"driver={kind.format},{kind.secret}=s,file.filename={path}"
            self.must(*self.reference["io"], *SECRET, *words, "--image-opts", options)
        else:
            self.must(*self.reference["io"], "-f", kind.format, *words, path)

    def make(self, kind):
        path, img = self.path(kind), self.reference["img"]
        if kind.secret:
            img = self.tool  # the reference fails to measure passphrases on busy machines
        options = kind.options
        if kind.data_file:
            options += f",data_file={path}.data"
        words = [*img, "create", "-q", "-f", kind.format, *(SECRET if kind.secret else [])]
        words += ["-o", options] if options else []
        words += ["-b", "base.raw", "-F", "raw"] if kind.backing else []
        self.must(*words, path, kind.size)
        img = self.reference["img"]
        size = {"1M": MIB, "256k": MIB // 4, "512k": MIB // 2, "5M": 5 * MIB}[kind.size]
        half = size // 2 // 65536 * 65536
        with open(path + ".pattern", "wb") as out:
            out.write(pattern(half, 3))
        self.io(kind, path, f"write -s {path}.pattern 0 {half}")
        if kind.compress:
            step = 65536 if kind.format == "qcow2" else 4096  # one cluster at a time in version 1
            self.io(kind, path, *(f"write -c -P {i + 1} {half + i * step} {step}"
                                  for i in range(65536 // step)))
        if kind.format == "qcow2" and "compat=0.10" not in kind.options:
            self.io(kind, path, f"write -z {half + 65536} 4k")
        if kind.bitmap:
            self.must(*img, "bitmap", "--add", path, "b0", "-g", "4k")
            self.must(*img, "bitmap", "--add", "--disable", path, "second")
        if kind.snapshot:
            self.must(*img, "snapshot", "-c", "one", path)
            self.io(kind, path, f"write -P 9 4k 20k")
            self.must(*img, "snapshot", "-c", "two", path)
        self.io(kind, path, f"write -P 8 {half - 4096} 4k", "write -P 7 1k 1k")


class Round:
    """One damaged image and all that is done to it."""

    def __init__(self, number, pool, tool, reference, run, findings):
        self.random = random.Random(number)
        self.number, self.pool, self.tool, self.reference = number, pool, tool, reference
        self.run, self.findings = run, findings
        self.kind = self.random.choice(KINDS)
        self.folder = run.folder
        self.original = f"{self.folder}/damaged"
        self.copy = f"{self.folder}/copy"
        self.done = ""

    def find(self, what, words="", outcome=None):
        text = f"{self.number} {self.kind.name} [{self.done}] {what}: {words}"
        if outcome is not None:
            text += f" -> {outcome.code} {outcome.err.strip()[:300]!r}"
        self.findings.append((what, text.replace(self.folder + "/", "")))
        print(self.findings[-1][1], flush=True)

    def prepare(self):
        with open(self.pool.path(self.kind), "rb") as source:
            data = bytearray(source.read())
        anatomy = Anatomy(bytes(data))
        steps = [damage(self.random, data, anatomy) for _ in range(self.random.choice([1, 1, 1, 2, 3]))]
        self.done = "; ".join(steps)
        with open(self.original, "wb") as out:
            out.write(data)
        self.data = bytes(data)

    def name(self, path):
        if self.kind.secret:
            return [*SECRET, "--image-opts",
                    f"driver={self.kind.format},{self.kind.secret}=s,file.filename={path}"]
        return ["-f", self.kind.format, path]

    def call(self, *words):
        """Runs the tool and requires what holds for every command."""
        outcome = self.run(*self.tool, *words)
        shown = " ".join(words)
        if outcome.timed_out:
            self.find("HANG", shown, outcome)
        elif outcome.code < 0 or outcome.code in (98, 99) or "Assertion" in outcome.err:
            self.find("CRASH", shown, outcome)
            print(outcome.err, file=sys.stderr)
        if outcome.memory > self.memory_max:
            self.find("MEMORY", f"{outcome.memory >> 20} MiB: {shown}", outcome)
        if len(outcome.out) > OUTPUT_BYTES_MAX:
            self.find("OUTPUT", shown, outcome)
        if not outcome.ok and not outcome.err and not outcome.out:
            self.find("SILENT", shown, outcome)
        return outcome

    def fresh(self):
        with open(self.copy, "wb") as out:
            out.write(self.data)

    def bytes_of(self, path):
        with open(path, "rb") as file:
            return file.read()

    def content(self, words, path, salvage=False):
        """What `convert` reads, or None, and what it said."""
        out = self.folder + "/content"
        if os.path.exists(out):
            os.unlink(out)
        source = self.name(path)
        call = self.call if words is self.tool else lambda *rest: self.run(*words, *rest)
        outcome = call("convert", *(["--salvage"] if salvage else []), "-O", "raw", *source, out)
        if not outcome.ok or os.path.getsize(out) > DISK_BYTES_MAX:
            return None, outcome
        return self.bytes_of(out), outcome

    def look(self):
        """Commands that read."""
        path = self.original
        self.call("info", path)
        self.call("info", "--output=json", *self.name(path))
        self.info = self.call("info", *self.name(path))
        self.checked = self.call("check", *self.name(path))
        self.call("map", *self.name(path))
        self.call("map", "--output=json", *self.name(path))
        self.call("measure", "-O", "qcow2", *self.name(path))
        self.call("snapshot", "-l", path)
        if not self.kind.secret:
            self.call("compare", "-f", self.kind.format, "-F", self.kind.format, path, path)
            self.call("io", "-r", "-f", self.kind.format, "-c", "read 0 64k", "-c", "map", path)
            if self.kind.snapshot:
                self.call("convert", "-l", "one", "-O", "raw", path, self.folder + "/content")
        self.before, self.converted = self.content(self.tool, path)
        if self.bytes_of(path) != self.data:
            self.find("WRITTEN", "by a command that reads")
            self.fresh()
            shutil.copy(self.copy, path)

    def compare_with_reference(self):
        theirs, outcome = self.content(self.reference["img"], self.original)
        if outcome.timed_out or outcome.code < 0:
            return
        if (theirs is None) != (self.before is None) and os.path.exists(self.folder + "/content"):
            is_known = any(text in self.converted.err for text in STRICTER)
            if outcome.ok != self.converted.ok and not is_known:
                self.find("REFUSED" if outcome.ok else "ACCEPTED", f"reference: {outcome.err.strip()}",
                          self.converted)
        elif theirs is not None and theirs != self.before[:len(theirs)]:
            self.find("CONTENT", "differs from the reference's")
        theirs = self.run(*self.reference["img"], "check", *self.name(self.original))
        is_known = any(text in self.checked.err for text in STRICTER)
        if theirs.code in (0, 2, 3) and self.checked.code != theirs.code and not is_known:
            self.find("CHECK", f"reference: {theirs.code}, {theirs.err.strip()[-200:]}", self.checked)

    def require_clean_means_readable(self):
        if self.checked.code == 0 and not self.converted.ok and self.kind.format == "qcow2":
            if not any(word in self.converted.err for word in ("compressed", "too large", "backing")):
                self.find("CLEAN", "but cannot be read", self.converted)

    def lost(self, before, after):
        """How many sectors with data before have another content now."""
        if after is None:
            return len(before) // 512
        count = 0
        for i in range(0, len(before), 512):
            sector = before[i:i + 512]
            if sector != after[i:i + 512] and any(sector):
                count += 1
        return count

    def repair(self):
        if self.kind.format != "qcow2":
            return
        before, _ = self.content(self.tool, self.original, salvage=True)
        for mode in ("leaks", "all"):
            self.fresh()
            outcome = self.call("check", "-r", mode, *self.name(self.copy))
            after, _ = self.content(self.tool, self.copy, salvage=True)
            if before is None:
                continue
            lost = self.lost(before, after)
            if lost:
                self.fresh()
                self.run(*self.reference["img"], "check", "-r", mode, *self.name(self.copy))
                theirs, _ = self.content(self.reference["img"], self.copy, salvage=True)
                if theirs is None or self.lost(before, theirs) < lost:
                    their_loss = None if theirs is None else self.lost(before, theirs)
                    self.find("WORSE", f"-r {mode} loses {lost} sectors, the reference {their_loss}", outcome)
            if mode == "all" and outcome.code == 0:
                again = self.call("check", *self.name(self.copy)) if not lost else outcome
                if again.code != 0:
                    self.find("UNREPAIRED", "check -r all said it was", again)

    def changes(self):
        kind = self.kind
        yield ["resize", *self.name(self.copy), "+1M"]
        if kind.secret:
            return
        plain = ["-f", kind.format]
        yield ["io", *plain, "-c", "write -P 1 0 64k", "-c", "discard 64k 64k", "-c", "write -z 128k 9k",
               "-c", "write -P 2 200k 700", "-c", "flush", self.copy]
        if kind.format == "qcow2":
            yield ["snapshot", "-c", "new", self.copy]
            yield ["amend", *plain, "-o", "compat=0.10", self.copy]
            yield ["amend", *plain, "-o", "compat=1.1,lazy_refcounts=on", self.copy]
            yield ["resize", *plain, "--shrink", self.copy, "100k"]
            yield ["amend", *plain, "-o", "refcount_bits=8", self.copy]
        if kind.snapshot:
            yield ["snapshot", "-a", "one", self.copy]
            yield ["snapshot", "-d", "two", self.copy]
        if kind.bitmap:
            yield ["bitmap", "--add", self.copy, "third"]
            yield ["bitmap", "--remove", self.copy, "b0"]
            yield ["bitmap", "--merge", "second", self.copy, "b0"]
        if kind.backing:
            yield ["rebase", *plain, "-b", "", self.copy]
            yield ["rebase", *plain, "-u", "-b", "base.raw", "-F", "raw", self.copy]
            yield ["commit", *plain, self.copy]
        yield ["dd", *plain, "-O", "qcow2", f"if={self.copy}", f"of={self.folder}/dd", "bs=64k", "count=2"]
        yield ["bench", *plain, "-w", "-c", "4", self.copy]

    def change(self):
        base = self.bytes_of(self.pool.folder + "/base.raw")
        changes = list(self.changes())
        for words in self.random.sample(changes, min(4, len(changes))):
            self.fresh()
            outcome = self.call(*words)
            after = self.bytes_of(self.copy)
            if self.kind.format == "qcow2" and self.checked.code == 0:
                checked = self.call("check", *self.name(self.copy))
                if checked.code not in (0, 3):
                    self.find("DAMAGED", " ".join(words), checked)
            if not outcome.ok and after != self.data and words[0] not in ("io", "bench"):
                if not self.is_only_marked(after):
                    self.require_harmless(words, outcome)
            if words[0] == "commit":
                with open(self.pool.folder + "/base.raw", "wb") as out:
                    out.write(base)

    def damage_of(self, path):
        """How much `check` finds wrong besides leaks; None if it cannot look."""
        report = self.run(*self.tool, "check", "--output=json", *self.name(path))
        try:
            return json.loads(report.out).get("corruptions", 0)
        except ValueError:
            return None

    def require_harmless(self, words, outcome):
        """A change that failed halfway has neither damaged more nor touched the disk's content."""
        shown = " ".join(words)
        before, after = self.damage_of(self.original), self.damage_of(self.copy)
        if after is None or before is not None and after > before:
            self.find("HALF DONE", f"{shown}: {before} corruptions became {after}", outcome)
        content, _ = self.content(self.tool, self.original, salvage=True)
        now, _ = self.content(self.tool, self.copy, salvage=True)
        if content is None:
            return
        if now is not None:
            content = content[:len(now)]  # a smaller disk is what was asked for
        if self.lost(content, now):
            self.find("HALF DONE", f"{shown}: {self.lost(content, now)} sectors have changed", outcome)

    def is_only_marked(self, after):
        """Whether nothing but the corrupt bit, the dirty bit and autoclear bits have changed."""
        return len(after) == len(self.data) and after[:72] == self.data[:72] and after[96:] == self.data[96:]

    def play(self, memory_max):
        self.memory_max = memory_max
        self.prepare()
        if self.kind.data_file:
            shutil.copy(self.pool.path(self.kind) + ".data", self.folder + "/spare")
        self.look()
        self.compare_with_reference()
        self.require_clean_means_readable()
        self.repair()
        self.change()
        if self.kind.data_file:
            shutil.copy(self.folder + "/spare", self.pool.path(self.kind) + ".data")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tool", required=True)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--only", type=int)
    parser.add_argument("--memory", type=int, default=256, help="MiB that a command may take")
    parser.add_argument("--folder", help="where the images are made")
    parser.add_argument("--keep", help="copies the damaged image of --only to this file, and does no more")
    arguments = parser.parse_args()
    tool = [os.path.abspath(arguments.tool)]
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        os.chmod(folder, 0o755)
        run = Runner(folder)
        reference = {"img": ["qemu-img"], "io": ["qemu-io"]}
        pool = Pool(folder, tool, reference, run)
        findings = []
        print(f"seed {arguments.seed}", flush=True)
        numbers = [arguments.only] if arguments.only is not None else range(
            arguments.seed, arguments.seed + arguments.count)
        if arguments.keep:
            one = Round(arguments.only, pool, tool, reference, run, findings)
            one.prepare()
            shutil.copy(one.original, arguments.keep)
            print(one.kind.name, one.done)
            return 0
        for done, number in enumerate(numbers):
            if done % 100 == 99:
                print(f"{done + 1} images, {run.runs} runs", file=sys.stderr, flush=True)
            Round(number, pool, tool, reference, run, findings).play(arguments.memory * MIB)
        counts = collections.Counter(what for what, _ in findings)
        print(f"{len(numbers)} images, {run.runs} runs; {dict(counts) or 'nothing found'}")
        return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
