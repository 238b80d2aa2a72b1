"""Runs lines in two directories that start out the same, and tells what differs."""
import difflib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess

import stock

TIMEOUT_S = 20
# Keys that newer releases of the reference have.
NEWER_KEYS = {"format-specific", "children", "limits", "detached-header", "compressed",
              "extent-size-hint"}

MASKS = [(re.compile(pattern), text) for pattern, text in (
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "DATE"),
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID"),
    (r'"(date-n?sec|[a-z-]*iters|actual-size)": \d+', r'"\1": "NUMBER"'),
    (r"iters: \d+", "iters: NUMBER"),
    (r"disk size: [^\n]*", "disk size: SIZE"),
    (r"(    \([0-9.]+/100%\)\r)*    \(([0-9.]+)/100%\)\r", r"    (\2/100%)\r"),
    (r"[0-9.]+ seconds", "SECONDS"),
    # Help is in words of our own.
    (r"[Uu]sage: qemu-(img|io|nbd) (.|\n)*", "HELP"),
    (r"ops; [0-9:.]+( sec)? \([^)]*\)", "ops; TIME"),
    (r"(\d+,1),\d+:\d\d:\d\d\.\d\d,[0-9.]+,[0-9.]+", r"\1,TIME"),
    (r"/var/tmp/vl\.\w{6}|/tmp/vl\.\w{6}|#block\d{3}", "TEMPORARY"),
    (r"Image end offset: \d+", "Image end offset: NUMBER"),
)]


# What differs on purpose, by what is in the line or in what either program says.
KNOWN = re.compile("|".join((
    "is not a multiple of request alignment",  # the reference does not write such images directly
    "Repairing OFLAG_COPIED L2 cluster",  # its repair loses snapshots
    "Device has active dirty bitmaps",  # it does not go back to snapshots beside bitmaps
    "Can't (store persistent bitmaps|make bitmap)",  # it makes up names of nodes
    "Detected format of",  # a line without an end
    "multiplier suffix on hex numbers",  # warned of by the I/O program only
    "authz-listfile",  # the list of objects
    "^qemu-img snapshot .*(-f|--image-opts)",  # options of newer releases
    "^qemu-img convert(.|\n)*Invalid cache option",  # nothing is made before all makes sense
    "^qemu-img (measure|amend).*-o ?'?(help|[?])",  # helps of our own
    "\n Example:",
    "force-share=on can only be used",  # the order of two mistakes
    "^qemu-img dd .*skip",  # the reference counts the blocks that are skipped
)), re.MULTILINE)
CRASHES = (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGKILL, "timeout")


class Line:
    """A program with its arguments, and its standard input. What requests in the background say
    comes when they have ended, so that the order of a line's output may be up to chance."""

    def __init__(self, program, arguments, text="", is_ordered=True):
        self.is_ordered = is_ordered
        self.program = program
        self.arguments = arguments
        self.input = text


def shown(line):
    text = " ".join([line.program] + [shlex.quote(word) for word in line.arguments])
    return text + (f" <<< {shlex.quote(line.input)}" if line.input else "")


def masked(text):
    for pattern, replacement in MASKS:
        text = pattern.sub(replacement, text)
    return text


def prune(ours, reference):
    """Takes from `ours` what only newer releases have."""
    if isinstance(ours, dict) and isinstance(reference, dict):
        for key in list(ours):
            if key in NEWER_KEYS and key not in reference:
                del ours[key]
            elif key in reference:
                prune(ours[key], reference[key])
    elif isinstance(ours, list) and isinstance(reference, list):
        for one, other in zip(ours, reference):
            prune(one, other)


def difference(ours, reference, is_ordered):
    """Empty if both are the same but for what cannot be."""
    ours, reference = masked(ours), masked(reference)
    if not is_ordered:
        ours, reference = ("\n".join(sorted(text.replace("qemu-io> ",
                                                         "").split("\n"))) for text in (ours,
                                                                                        reference))
    if ours == reference:
        return ""
    try:
        ours_json, reference_json = json.loads(ours), json.loads(reference)
        prune(ours_json, reference_json)
        if ours_json == reference_json:
            return ""
    except ValueError:
        pass
    return differing_lines(ours, reference)


def differing_lines(ours, reference):
    lines = list(difflib.unified_diff(reference.split("\n"), ours.split("\n"), n=1,
                                      lineterm=""))[2:]
    return "".join("\n    " + line[:200] for line in lines[:20])


class Workplace:
    def __init__(self, place, tool):
        self.place = place
        self.stock = os.path.join(place, "stock")
        self.sides = {}
        os.mkdir(self.stock)
        stock.make(self.stock)
        links = os.path.join(place, "bin")
        os.mkdir(links)
        for name in ("qemu-img", "qemu-io", "qemu-nbd"):
            os.symlink(tool, os.path.join(links, name))
        self.programs = {"ours": links, "reference": ""}

    def run(self, case):
        """The differences, as texts."""
        for side in self.programs:
            folder = self.folder(side)
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run(["cp", "-a", "--sparse=always", self.stock, folder], check=True)
        found = []
        for number, line in enumerate(case, 1):
            results = {side: self.run_line(side, line) for side in self.programs}
            ours, reference = results["ours"], results["reference"]
            told = (shown(line), reference.stdout, reference.stderr, ours.stdout, ours.stderr)
            if reference.crashed or any(KNOWN.search(text) for text in told):
                return []  # nothing to learn from
            for what in ("stdout", "stderr", "exit"):
                differing = difference(str(getattr(ours, what)), str(getattr(reference, what)),
                                       line.is_ordered)
                if differing:
                    found.append(f"  {number} {what}{differing}")
            if found:
                break  # what follows differs because of it
        return found or self.compare_files()

    def folder(self, side):
        return os.path.join(self.place, side)

    def run_line(self, side, line):
        if hasattr(line, "run"):
            return line.run(self.programs[side], self.folder(side))
        return run(self.programs[side], self.folder(side), line)

    def compare_files(self):
        ours, reference = (sorted(os.listdir(self.folder(side))) for side in self.programs)
        if ours != reference:
            only_there, only_here = set(reference) - set(ours), set(ours) - set(reference)
            return [f"  files\n    - {only_there}\n    + {only_here}"]
        found = []
        for name in ours:
            found += self.compare_file(name)
        return found

    def compare_file(self, name):
        paths = [os.path.join(self.folder(side), name) for side in self.programs]
        if not os.path.isfile(paths[0]) or same_bytes(*paths):
            return []
        told = [masked(self.tell(side, ["info", "-U", name])) for side in self.programs]
        if told[0] != told[1]:
            return [f"  image {name}{differing_lines(*told)}"]
        if "encrypted: yes" in told[0]:
            return []
        if "file format: qcow2" in told[0]:
            without_backing = json.dumps({"driver": "qcow2", "backing": None,
                                          "file": {"driver": "file", "filename": name}})
            check = [self.tell(side, ["check", "-q",
                                      "json:" + without_backing]) for side in self.programs]
            if check[0] and check[0] != check[1]:
                return [f"  check {name}{differing_lines(*check)}"]
        compared = subprocess.run(["qemu-img", "compare", "-U", paths[0], paths[1]],
                                  capture_output=True, text=True, errors="replace",
                                  timeout=TIMEOUT_S)
        # Who can read neither cannot tell.
        cannot_tell = "Could not open" in compared.stderr
        if compared.returncode and not cannot_tell:
            return [f"  content {name}\n    {indent(compared.stdout + compared.stderr)}"]
        return []

    def tell(self, side, arguments):
        result = run("", self.folder(side), Line("qemu-img", arguments))
        return result.stdout + result.stderr


class Result:
    def __init__(self, stdout, stderr, code):
        self.stdout, self.stderr, self.exit = stdout, stderr, code
        self.crashed = code in CRASHES


def environment_with(programs):
    environment = dict(os.environ)
    if programs:
        environment["PATH"] = programs + ":" + environment["PATH"]
    return environment


def run(programs, folder, line):
    environment = environment_with(programs)
    program = shutil.which(line.program, path=environment["PATH"])
    process = subprocess.Popen([line.program] + line.arguments, executable=program, cwd=folder,
                               env=environment,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE,
                               start_new_session=True)
    try:
        out, err = process.communicate(line.input.encode(), timeout=TIMEOUT_S)
        return Result(decoded(out), decoded(err), process.returncode)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        return Result(decoded(out), decoded(err), "timeout")


def decoded(data):
    return data.decode(errors="surrogateescape")


def indent(text):
    lines = str(text).split("\n")
    if len(lines) > 14:
        lines = lines[:14] + ["..."]
    return "\n      ".join(line[:300] for line in lines)


def same_bytes(one, other):
    if os.path.getsize(one) != os.path.getsize(other) or os.path.getsize(one) > 64 << 20:
        return False
    with open(one, "rb") as first, open(other, "rb") as second:
        return first.read() == second.read()

