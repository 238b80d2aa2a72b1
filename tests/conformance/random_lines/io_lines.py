"""Command lines of qemu-io."""
import stock
from side_by_side import Line
from words import chance, quoted, size, some

# Options of each command, those with an argument with a colon behind them.
FLAGS = {
    "read": "a b C q v p P: s: l:", "r": "v q P:", "readv": "C q v P:", "rv": "q",
    "write": "b c C f n q u z p P: s:", "w": "P: q",
    "writev": "C f q P:", "wv": "q", "aio_read": "C i q v P:", "aio_write": "C f i q u z P:",
    "aio_flush": "", "aior": "q",
    "aiow": "q P: z", "discard": "C q", "d": "q", "flush": "", "f": "", "truncate": "m:", "t": "",
    "length": "", "l": "", "map": "",
    "alloc": "", "info": "", "i": "", "close": "", "c": "", "open": "r s C n k U t: d: o: i:",
    "o": "r s", "reopen": "r w c: o:",
    "sleep": "", "help": "", "?": "", "quit": "", "q": "", "abort": "", "break": "", "resume": "",
    "remove_break": "",
    "sigraise": "", "nonsense": "", "": "",
}
FREQUENT = ("read", "write", "readv", "writev", "aio_read", "aio_write", "discard", "truncate",
            "open", "reopen", "alloc", "write",
            "read", "map", "aio_flush", "flush", "length", "info")
VALUES = {
    "t": ("none", "writeback", "writethrough", "unsafe", "directsync", "off", "nonsense", ""),
    "c": ("none", "writeback", "writethrough", "unsafe", "directsync", "nonsense"),
    "d": ("ignore", "unmap", "on", "off", "nonsense"),
    "i": ("threads", "native", "io_uring", "nonsense"),
    "m": ("off", "falloc", "full", "metadata", "nonsense", ""),
}
PATTERNS = ("0", "1", "4", "255", "256", "0xff", "-1", "x", "010", "3.5", "1k", "", "0x100", " 7",
            "5x")
OPEN_OPTIONS = ("driver=raw", "driver=qcow2", "driver=nonsense", "read-only=on", "read-only=x",
                "lazy-refcounts=on", "nonsense=1",
                "cache-size=1M", "l2-cache-size=64k", "cache.direct=on", "cache.no-flush=on",
                "cache.writeback=off", "discard=unmap",
                "detect-zeroes=on", "detect-zeroes=unmap", "detect-zeroes=unmap,discard=unmap",
                "overlap-check=all", "offset=512",
                "backing.driver=raw", "file.driver=file", "filename=a.qcow2", "", ",", "=",
                "force-share=on", "pass-discard-request=on",
                "cache-clean-interval=1", "copy-on-read=on", "node-name=n", "backing=base.qcow2",
                "size=64k", "auto-read-only=on",
                "driver=null-co,size=64k", "driver=null-co,read-zeroes=on")
# What a damaged image makes of writes, and the old format of discards, is up to the program.
SOUND = tuple(name for name in stock.IMAGES if name not in ("broken.qcow2", "q1.qcow"))
IMAGES = ("a.qcow2",) * 5 + SOUND + (
    "missing", "folder", "", "blkdebug::a.qcow2", "blkdebug::raw.img", "file:a.qcow2", "nbd:x",
    "json:{}", 'json:{"driver":"null-co","size":65536,"read-zeroes":true}')


# What comes before the image, with its values.
OPTIONS = tuple((flag, ()) for flag in (
    "-r", "-s", "-n", "-C", "-m", "-k", "-U", "--cache=none", "--discard=unmap", "--read-only",
    "--snapshot", "--image-opts", "--nonsense", "-x", "-f", "--force-share", "--copy-on-read",
    "--nocache", "--misalign", "--native-aio")) + (
    ("-f", ("raw", "qcow2", "nonsense", "")), ("--form", ("raw",)), ("--cmd", ("length",)),
    ("-t", VALUES["t"]), ("--cache", VALUES["t"]), ("-d", VALUES["d"]), ("-i", VALUES["i"]),
    ("--aio", VALUES["i"]),
    ("--object", ("secret,id=s0,data=abc", "secret,id=s0,data=abc", "secret", "nonsense,id=x",
                  "secret,id=s0,file=missing", "secret,id=1x,data=a", "id=x", "",
                  "throttle-group,id=t")))
LISTS = ("driver=qcow2,file.filename=a.qcow2", "driver=raw,file.filename=raw.img", "driver=qcow2",
         "", "a.qcow2", "driver=raw,offset=512,size=64k,file.filename=raw.img",
         "driver=luks,key-secret=s0,file.filename=luks.img", "file.filename=a.qcow2",
         "driver=qcow2,file.filename=a.qcow2,nonsense=1",
         "driver=qcow2,encrypt.key-secret=s0,file.filename=crypt.qcow2",
         "driver=throttle,throttle-group=t,file.filename=a.qcow2",
         "driver=qcow2,file.filename=a.qcow2,read-only=on",
         "driver=blkdebug,image.driver=file,image.filename=raw.img")


def option_value(rng, command, flag):
    if flag in ("P",):
        return rng.choice(PATTERNS)
    if flag == "s" and command in ("write", "w"):
        return rng.choice(("pattern", "pattern", "missing", "folder", "empty.img"))
    if flag in ("s", "l"):
        return size(rng)
    if flag == "o":
        return ",".join(some(rng, OPEN_OPTIONS, 1) + [rng.choice(OPEN_OPTIONS)])
    return rng.choice(VALUES[flag])


def flags(rng, command):
    known = FLAGS[command].split()
    words = []
    count = rng.choice((0, 0, 1, 1, 2, 3))
    for _ in range(count if known else 0):
        flag = rng.choice(known)
        words.append("-" + flag[0])
        if flag.endswith(":") and not chance(rng, 2):
            value = option_value(rng, command, flag[0])
            if chance(rng, 20) and value and " " not in value:
                words[-1] += value
            else:
                words.append(value)
    if chance(rng, 2):
        words.append(rng.choice(("-x", "-?", "-h", "--help", "--", "-", "-Z")))
    return words


def operands(rng, command):
    if command in ("readv", "writev", "rv", "wv", "aio_read", "aio_write", "aior", "aiow"):
        words = [size(rng)] + [size(rng) for _ in range(rng.choice((1, 1, 1, 2, 3, 0)))]
    elif command in ("read", "write", "r", "w", "discard", "d"):
        words = [size(rng), size(rng)]
    elif command in ("truncate", "t", "alloc"):
        words = [size(rng, 20)]
        if command == "alloc" and chance(rng, 50):
            words.append(size(rng, 20))
    elif command in ("open", "o"):
        words = [rng.choice(IMAGES)]
    elif command == "sleep":
        words = [rng.choice(("0", "1", "5", "-1", "x", "1k", "", "1.5"))]
    elif command in ("help", "?"):
        words = some(rng, tuple(FLAGS), 1)
    elif command == "sigraise":
        words = [rng.choice(("0", "15", "x", "-1", "999", "2", "10", "17", "9"))]
    elif command in ("break", "resume", "remove_break"):
        words = [rng.choice(("A", "B", ""))]
        if command == "break":
            words.insert(0, rng.choice(("write_aio", "read_aio", "nonsense", "l2_load")))
    else:
        words = []
    if chance(rng, 4):
        words = words[:-1] if chance(rng, 50) else words + [size(rng)]
    return words


def command(rng):
    name = rng.choice(FREQUENT) if chance(rng, 80) else rng.choice(tuple(FLAGS))
    # A read of as much as it likes fills the screen.
    words = [quoted(rng, word) for word in [name] + flags(rng, name) + operands(rng, name)]
    text = "  ".join(words) if chance(rng, 5) else " ".join(words)
    if chance(rng, 1):
        text = rng.choice((" ", "\t", "#", "\"", "'", "")) + text
    return text


def global_options(rng):
    words = []
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2))):
        flag, values = rng.choice(OPTIONS)
        words.append(flag)
        if values:
            words.append(rng.choice(values))
    return words


def line(rng):
    words = global_options(rng)
    image = rng.choice(LISTS if "--image-opts" in words else IMAGES)
    commands = []
    for _ in range(rng.choice((1, 2, 3, 4, 6, 8))):
        commands.append(command(rng))
        # Requests that are under way at the same time may end in any order.
        if "ai" in commands[-1]:
            commands.append("aio_flush")
    text = ""
    if chance(rng, 25):
        text = "\n".join(commands) + rng.choice(("\n", "\n", "", "\nquit\n"))
    else:
        for each in commands:
            words += [rng.choice(("-c", "-c", "-c", "--cmd")), each]
    if not chance(rng, 3):
        words.append(image)
    if chance(rng, 1):
        words.append("more")
    return Line("qemu-io", words, text, is_ordered=not any("ai" in each for each in commands))


def case(rng):
    return [line(rng) for _ in range(rng.choice((1, 1, 1, 2)))]
