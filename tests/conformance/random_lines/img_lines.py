"""Command lines of qemu-img."""
import stock
from side_by_side import Line
from words import chance, size, some

IMAGES = ("a.qcow2",) * 4 + ("over.qcow2",
                             "snap.qcow2") * 3 + tuple(
    name for name in stock.IMAGES if name != "broken.qcow2")
STRANGE = ("missing", "folder", "", "null-co://", "nbd:x", "json:{}", "file:a.qcow2",
           'json:{"driver":"qcow2","file.filename":"a.qcow2"}',
           "pattern", "-", "missing/a", "blkdebug::a.qcow2", "broken.qcow2", "json:[")
LISTS = ("driver=qcow2,file.filename=a.qcow2", "driver=raw,file.filename=raw.img", "driver=qcow2",
         "", "a.qcow2", "driver=nonsense,file.filename=a.qcow2",
         "driver=luks,key-secret=s0,file.filename=luks.img", "file.filename=a.qcow2",
         "driver=qcow2,encrypt.key-secret=s0,file.filename=crypt.qcow2",
         "driver=qcow2,file.filename=a.qcow2,nonsense=1",
         "driver=qcow2,file.filename=a.qcow2,read-only=on", "driver=null-co,size=1M",
         "driver=luks,file.filename=luks.img", "driver=qcow2,file.filename=missing")
FORMATS = ("qcow2", "qcow2", "raw", "raw", "qcow", "luks", "nonsense", "", "?")
CACHES = ("none", "writeback", "writethrough", "unsafe", "directsync", "nonsense", "")
OBJECTS = ("secret,id=s0,data=abc",) * 4 + ("secret", "nonsense,id=x", "secret,id=s0,file=missing",
                                            "secret,id=1x,data=a", "id=x", "", "help",
                                            "secret,help",
           "secret,id=s0,data=abc,file=secret", "secret,id=s0", "secret,id=s0,data=abc,nonsense=1",
           "secret,id=s0,file=secret", "secret,id=s1,data=wrong",
           "throttle-group,id=t", '{"qom-type":"secret","id":"s0","data":"abc"}', "{",
           "secret,id=s0,data=a,format=base64", "secret,id=s0,data=a,format=x")
CREATE_OPTIONS = ("size=1M", "compat=0.10", "compat=1.1", "compat=v3", "compat=x",
                  "cluster_size=512", "cluster_size=2M", "cluster_size=1000",
                  "cluster_size=64k", "preallocation=off", "preallocation=metadata",
                  "preallocation=falloc", "preallocation=full", "preallocation=x",
                  "lazy_refcounts=on", "lazy_refcounts=x", "refcount_bits=1", "refcount_bits=64",
                  "refcount_bits=3", "nonsense=1", "help", "?", "",
                  "extended_l2=on", "compression_type=zstd", "compression_type=zlib",
                  "compression_type=x", "backing_file=base.qcow2",
                  "backing_fmt=qcow2", "backing_fmt=raw", "data_file=d.raw", "data_file_raw=on",
                  "encryption=on", "encrypt.format=luks",
                  "encrypt.format=aes", "encrypt.key-secret=s0", "key-secret=s0",
                  "encrypt.format=luks,encrypt.key-secret=s0,encrypt.iter-time=10",
                  "iter-time=10", "key-secret=s0,iter-time=10", "size=x", "size=", "nocow=on",
                  "extent_size_hint=1M", "encrypt.iter-time=x",
                  "cluster_size=128k", "cluster_size=", "compat", "lazy_refcounts",
                  "nolazy_refcounts", "size=1.5k", "=", ",", "state=active",
                  "keyslot=1", "state=active,new-secret=s0,keyslot=1", "encrypt.state=active",
                  "encrypt.state=inactive,encrypt.keyslot=0")
SNAPSHOTS = ("s1", "1", "2", "snapshot.name=s1", "snapshot.id=2", "snapshot.name=s 2", "s 2",
             "nonsense", "snapshot.x=1", "", "snapshot.name=nonsense",
             "snapshot.id=1,snapshot.name=s1", "snapshot.id=1,snapshot.name=s 2", "new")


def options(rng):
    return ",".join(rng.choice(CREATE_OPTIONS) for _ in range(rng.choice((1, 1, 1, 2, 2, 3))))


def image(rng):
    return rng.choice(STRANGE) if chance(rng, 8) else rng.choice(IMAGES)


def target(rng):
    return rng.choice(("new", "new", "new", "new", "new.qcow2", "a.qcow2", "raw.img", "base.qcow2",
                       "missing/new", "folder", "", "null-co://", "nbd:x",
                       "driver=raw,file.filename=raw.img", "driver=qcow2,file.filename=a.qcow2",
                       "file:new"))


def any_size(rng):
    return size(rng, 20)


def number(rng):
    return rng.choice(("1", "2", "4", "8", "16", "17", "0", "-1", "x", "", "1k", "1.5", "64", "100",
                       "010", "0x10"))


def one_of(*values):
    return lambda rng: rng.choice(values)


FORMAT, CACHE, OBJECT, OPTIONS = one_of(*FORMATS), one_of(*CACHES), one_of(*OBJECTS), options
# None that takes long.
RATE = one_of("0", "1G", "100M", "x", "-1", "16E", "")
SOURCE = {"-f": FORMAT, "-U": None, "--image-opts": None, "--object": OBJECT}
COMMANDS = {
    "amend": ({**SOURCE, "-o": OPTIONS, "-o ": OPTIONS, "-p": None, "-q": None, "-t": CACHE,
               "--force": None}, (image,)),
    "bench": ({**SOURCE, "-c": number, "-d": number, "--flush-interval": number,
               "-i": one_of("threads", "native", "io_uring", "x"), "-n": None,
               "--no-drain": None, "-o": any_size, "--pattern": number, "-q": None, "-s": any_size,
               "-S": any_size, "-t": CACHE, "-w": None},
              (image,)),
    "bitmap": ({**SOURCE, "--add": None, "--remove": None, "--clear": None, "--enable": None,
                "--disable": None,
                "--merge": one_of("b0", "b1", "nonsense", ""), "-b": image, "-F": FORMAT,
                "-g": any_size},
               (image, one_of("b0", "b0", "b1", "new", "", "x" * 1024))),
    "check": ({**SOURCE, "-q": None, "--output": one_of("human", "json", "x"),
               "-r": one_of("leaks", "all", "x"), "-T": CACHE}, (image,)),
    "commit": ({**SOURCE, "-q": None, "-t": CACHE, "-b": image, "-r": RATE, "-d": None,
                "-p": None}, (image,)),
    "compare": ({**SOURCE, "-F": FORMAT, "-T": CACHE, "-p": None, "-q": None, "-s": None},
                (image, image)),
    "convert": ({**SOURCE, "--target-image-opts": None, "--target-is-zero": None, "--bitmaps": None,
                 "--skip-broken-bitmaps": None, "-C": None, "-c": None,
                 "-p": None, "-q": None, "-n": None, "-t": CACHE, "-T": CACHE, "-O": FORMAT,
                 "-O ": FORMAT, "-B": image, "-F": FORMAT, "-o": OPTIONS,
                 "-l": one_of(*SNAPSHOTS), "-S": any_size, "-r": RATE, "-m": number, "-W": None,
                 "--salvage": None}, (image, target)),
    "create": ({"-f": FORMAT, "-f ": FORMAT, "--object": OBJECT, "-q": None, "-b": image,
                "-F": FORMAT, "-u": None, "-o": OPTIONS, "-o ": OPTIONS},
               (target, any_size)),
    "dd": ({**SOURCE, "-O": FORMAT},
           (lambda rng: "if=" + image(rng), lambda rng: "of=" + target(rng),
            lambda rng: "bs=" + any_size(rng), lambda rng: "count=" + any_size(rng),
            lambda rng: rng.choice(("skip=", "nonsense=", "conv=")) + any_size(rng))),
    "info": ({**SOURCE, "--output": one_of("human", "json", "x"), "--backing-chain": None},
             (image,)),
    "map": ({**SOURCE, "--output": one_of("human", "json", "x"), "--start-offset": any_size,
             "--max-length": any_size, "-s": any_size, "-l": any_size},
            (image,)),
    "measure": ({**SOURCE, "--output": one_of("human", "json", "x"), "-O": FORMAT, "-o": OPTIONS,
                 "--size": any_size, "-l": one_of(*SNAPSHOTS)}, (image,)),
    "snapshot": ({**SOURCE, "-q": None, "-l": None, "-a": one_of(*SNAPSHOTS),
                  "-c": one_of("new", "s1", "", "x" * 300), "-d": one_of(*SNAPSHOTS)}, (image,)),
    "rebase": ({**SOURCE, "-q": None, "-t": CACHE, "-T": CACHE, "-p": None, "-u": None, "-b": image,
                "-b ": one_of("base.qcow2", ""), "-F": FORMAT}, (image,)),
    "resize": ({**SOURCE, "--preallocation": one_of("off", "metadata", "falloc", "full", "x", ""),
                "-q": None, "--shrink": None},
               (image, lambda rng: rng.choice(("", "", "+", "-")) + any_size(rng))),
}
# Options that are left out would make most lines fail for the same reason.
NEEDED = {"amend": ("-o",), "rebase": ("-b",), "create": ("-f",), "convert": ("-O",),
          "bitmap": ("--add",)}


def option(rng, flag, value):
    flag = flag.strip()
    if value is None:
        return [flag]
    text = value(rng)
    if flag.startswith("--"):
        return [flag + "=" + text] if chance(rng, 50) else [flag, text]
    return [flag + text] if text and chance(rng, 15) else [flag, text]


def line(rng):
    command = rng.choice(tuple(COMMANDS))
    known, operands = COMMANDS[command]
    words = []
    for flag in rng.sample(sorted(known), min(len(known), rng.choice((0, 1, 1, 2, 2, 3, 4)))):
        if flag == "--image-opts" and chance(rng, 50) or flag in ("-f", "--object") and chance(rng,
                                                                                               30):
            continue
        words.append(option(rng, flag, known[flag]))
    for flag in NEEDED.get(command, ()):
        if not any(word[0] == flag for word in words) and chance(rng, 90):
            words.append(option(rng, flag, known[flag]))
    if chance(rng, 3):
        words.append([rng.choice(("--nonsense", "-x", "-Z", "--", "--output", "-o", "-f",
                                  "--object", "--color"))])
    rng.shuffle(words)
    named = []
    for operand in operands:
        is_list = operand is image and ["--image-opts"] in words
        named.append(rng.choice(LISTS) if is_list else operand(rng))
    if chance(rng, 4):
        named = named[:-1] if chance(rng, 60) else named + [image(rng)]
    elif command in ("dd", "create", "measure") and chance(rng, 40):
        named = named[:rng.randint(0 if command == "measure" else 1, len(named))]
    words = [word for group in words for word in group]
    words = named + words if chance(rng, 5) else words + named
    return Line("qemu-img", [command] + words)


def case(rng):
    return [line(rng) for _ in range(rng.choice((1, 1, 2, 3)))]
