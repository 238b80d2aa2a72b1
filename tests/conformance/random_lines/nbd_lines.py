"""Command lines of qemu-nbd, and what clients see of the servers that they start."""
import os
import signal
import subprocess
import tempfile
import time

import stock
from side_by_side import Result, TIMEOUT_S, environment_with, masked, shown
from words import chance, size

def offset(rng):
    """A number: qcow takes suffixes, too."""
    text = size(rng)
    return text if not text.strip() or not text.strip()[0].isdigit() or text.isdigit() else "512"


OPTIONS = (  # each with its values; partitions and suffixes of offsets there are here only
    ("-r",), ("--read-only",), ("-s",), ("--snapshot",), ("-n",), ("--nocache",), ("-t",),
    ("--persistent",), ("-v",), ("--verbose",), ("-A",), ("--allocation-depth",), ("--image-opts",),
    ("--fork",), ("--nonsense",), ("-z",), ("-f", ("raw", "qcow2", "nonsense", "", "luks", "qcow")),
    ("--format=", ("raw", "qcow2", "nonsense")),
    ("--cache=", ("none", "writeback", "writethrough", "directsync", "unsafe", "nonsense", "")),
    ("--cache", ("none", "unsafe")), ("--aio=", ("threads", "native", "io_uring", "nonsense")),
    ("--discard=", ("unmap", "ignore", "on", "off", "nonsense")),
    ("--detect-zeroes=", ("on", "off", "unmap", "nonsense")),
    ("-e", ("1", "2", "5", "0", "-1", "x", "", "1k")), ("--shared=", ("3", "0")),
    ("-x", ("", "name", "a b", "x" * 300, "x" * 4097)), ("--export-name=", ("", "disk")),
    ("-D", ("", "text", "x" * 5000)), ("--description=", ("a text",)),
    ("-B", ("b0", "b1", "nonsense", "", "qemu:x")), ("--bitmap=", ("b0",)),
    ("-l", ("s1", "1", "snapshot.name=s1", "snapshot.id=2", "nonsense", "snapshot.name=s 2",
            "s 2", "snapshot.x=1", "")), ("--load-snapshot=", ("s1",)), ("-o", offset),
    ("--offset=", offset), ("-p", ("0", "-1", "65536", "x", "", "1k", "70000")),
    ("-b", ("127.0.0.1", "")), ("--tls-creds=", ("nonsense", "s0", "")),
    ("--tls-authz=", ("nonsense",)),
    ("--object", ("secret,id=s0,data=abc", "secret,id=s0,data=abc", "secret", "nonsense,id=x",
                  "", "secret,id=s0,file=missing",
                  "tls-creds-x509,id=s0,endpoint=server,dir=folder",
                  "tls-creds-anon,id=s0,endpoint=server", "throttle-group,id=t",
                  "tls-creds-psk,id=s0,endpoint=server,dir=missing",
                  "authz-simple,id=z,identity=me")),
    ("--pid-file=", ("missing/pid", "folder", "pid2")), ("--selinux-label=", ("x",)), ("-L",),
    ("--list",), ("-T", ("nonsense", "enable=nonsense")), ("-f",), ("-x",),
    ("-k", ("missing/socket", "", "x" * 120, "relative")), ("--socket=", ("other",)),
)
ENDED = "0, ended by a signal"
IMAGES = stock.IMAGES + ("a.qcow2",) * 8 + ("snap.qcow2",) * 5 + (
    "missing", "folder", "", "json:{}",
)
LISTS = ("driver=qcow2,file.filename=a.qcow2", "driver=raw,file.filename=raw.img", "a.qcow2", "",
         "driver=raw,offset=512,size=64k,file.filename=raw.img",
         "driver=luks,key-secret=s0,file.filename=luks.img",
         "driver=qcow2,encrypt.key-secret=s0,file.filename=crypt.qcow2",
         "driver=qcow2,file.filename=a.qcow2,discard=unmap,detect-zeroes=unmap",
         "driver=qcow2,file.filename=a.qcow2,read-only=on")
WRITES = ["write -P 9 0 64k", "discard 64k 64k", "write -z 128k 64k", "write -z -u 256k 64k",
          "write -P 0 512k 64k", "write -P 3 1000 100",
          "read -v 0 512", "read -v 65000 600", "flush"]


def clients(rng, name):
    uri = f"nbd+unix:///{name}?socket=SOCKET"
    context = rng.choice(("base:allocation", "qemu:dirty-bitmap:b0", "qemu:allocation-depth",
                          "qemu:dirty-bitmap:b1"))
    writes = [word for command in rng.sample(WRITES, 4) for word in ("-c", command)]
    return [["nbdinfo", "--json", "--no-content", uri], ["nbdinfo", "--map=" + context, "--json",
                                                         uri],
            ["qemu-io", "-f", "raw"] + writes + [uri], ["nbdinfo", "--list", "--json",
                                                        "--no-content",
                                                        "nbd+unix:///?socket=SOCKET"],
            ["qemu-nbd", "-L", "-k", "SOCKET"], ["sh", "-c", f"nbdcopy '{uri}' - | md5sum"],
            ["nbdinfo", "--size", uri]]


class Server:
    """A server, and clients one after the other if it is a server for several."""
    is_ordered = True

    def __init__(self, arguments, clients_of_it):
        self.arguments, self.clients = arguments, clients_of_it

    program, input = "qemu-nbd", ""

    def run(self, programs, folder):
        environment = environment_with(programs)
        self.socket = os.path.join(os.path.dirname(folder), "socket")
        arguments = [word.replace("SOCKET", self.socket) for word in self.arguments]
        program = os.path.join(programs, "qemu-nbd") if programs else "qemu-nbd"
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            process = subprocess.Popen(["qemu-nbd"] + arguments, executable=program, cwd=folder,
                                       env=environment, stdin=subprocess.DEVNULL,
                                       stdout=out, stderr=err, start_new_session=True, text=True,
                                       errors="replace")
            code = self.wait(process)
            is_there = not code and os.path.exists(self.socket)
            said = self.ask(folder, environment) if is_there else ""
            if code is None:
                code = self.end(process)
            if code not in (0, ENDED):
                said = ""  # it listened, but then could not open the image
            self.end_daemon(folder)
            out.seek(0)
            err.seek(0)
            return Result(out.read() + said, err.read(), code)

    def wait(self, process):
        """Until it listens or has ended."""
        end = time.monotonic() + TIMEOUT_S
        while time.monotonic() < end:
            code = process.poll()
            if code is not None:
                return code
            if os.path.exists(self.socket):
                time.sleep(0.03)
                return process.poll()
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        return "timeout"

    def ask(self, folder, environment):
        said = ""
        asked = self.clients if {"-t", "--persistent"} & set(self.arguments) else self.clients[:1]
        for client in asked:
            result = subprocess.run([word.replace("SOCKET", self.socket) for word in client],
                                    cwd=folder,
                                    env=environment if client[0] == "qemu-nbd" else None,
                                    capture_output=True,
                                    text=True, errors="replace", timeout=TIMEOUT_S,
                                    stdin=subprocess.DEVNULL)
            said += f"{client}\n{result.stdout}{result.stderr}{result.returncode}\n"
        return said

    def end(self, process):
        """A server for one client ends by itself."""
        try:
            return process.wait(0.05 if {"-t", "--persistent"} & set(self.arguments) else 3)
        except subprocess.TimeoutExpired:
            process.terminate()
        try:
            code = process.wait(TIMEOUT_S)
            return ENDED if code == 0 else code
        except subprocess.TimeoutExpired:
            process.kill()
            return "timeout"

    def end_daemon(self, folder):
        path = os.path.join(folder, "pid")
        try:
            with open(path) as file:
                pid = int(file.read())
            os.remove(path)
            os.kill(pid, signal.SIGTERM)
            for _ in range(200):
                os.kill(pid, 0)
                time.sleep(0.005)
        except (OSError, ValueError):
            pass
        if os.path.exists(self.socket):
            os.remove(self.socket)


def server(rng):
    words = ["-k", "SOCKET"]
    if chance(rng, 70):
        words.append("-t")
    for _ in range(rng.choice((0, 1, 1, 2, 2, 3, 4))):
        option = rng.choice(OPTIONS)
        word = option[0]
        if len(option) == 1:
            words.append(word)
            continue
        values = option[1]
        value = values(rng) if callable(values) else rng.choice(values)
        words += [word + value] if word.endswith("=") else [word, value]
    if "--fork" in words:
        words.append("--pid-file=pid")
    name = next((words[i + 1] for i, word in enumerate(words[:-1]) if word == "-x"), "")
    name = next((word[14:] for word in words if word.startswith("--export-name=")), name)
    if not chance(rng, 3):
        words.append(rng.choice(LISTS if "--image-opts" in words else IMAGES))
    if chance(rng, 2):
        words.append("more")
    asked = name.replace(" ", "%20") if chance(rng, 90) else "other"
    return Server(words, clients(rng, asked))


def case(rng):
    one = server(rng)
    rng.shuffle(one.clients)
    return [one]
