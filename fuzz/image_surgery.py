"""Where the metadata of a qcow2 or qcow image lies, and ways to damage it."""

import dataclasses
import struct

HEADER_FIELDS = [
    ("magic", 0, 4), ("version", 4, 4), ("backing_file_offset", 8, 8), ("backing_file_size", 16, 4),
    ("cluster_bits", 20, 4), ("size", 24, 8), ("crypt_method", 32, 4), ("l1_size", 36, 4),
    ("l1_table_offset", 40, 8), ("refcount_table_offset", 48, 8), ("refcount_table_clusters", 56, 4),
    ("nb_snapshots", 60, 4), ("snapshots_offset", 64, 8), ("incompatible_features", 72, 8),
    ("compatible_features", 80, 8), ("autoclear_features", 88, 8), ("refcount_order", 96, 4),
    ("header_length", 100, 4), ("compression_type", 104, 1),
]
V1_FIELDS = [
    ("magic", 0, 4), ("version", 4, 4), ("backing_file_offset", 8, 8), ("backing_file_size", 16, 4),
    ("mtime", 20, 4), ("size", 24, 8), ("cluster_bits", 32, 1), ("l2_bits", 33, 1),
    ("crypt_method", 36, 4), ("l1_table_offset", 40, 8),
]
OFFSET_MASK = 0x00FFFFFFFFFFFE00
BITMAPS_EXTENSION = 0x23852875


@dataclasses.dataclass
class Field:
    """A number of the metadata: what it is, where it lies and how many bytes it has."""

    name: str
    offset: int
    size: int


def read(data, offset, size):
    return int.from_bytes(data[offset:offset + size], "big")


class Anatomy:
    """The fields of a valid image, and the host offsets of its structures."""

    def __init__(self, data):
        self.fields = []
        self.places = {0, len(data)}
        self.cluster = 512
        if data[:4] == b"QFI\xfb" and read(data, 4, 4) == 1:
            self._read_v1(data)
        elif data[:4] == b"QFI\xfb":
            self._read_v2(data)
        else:
            self._read_bytes(0, min(len(data), 592), "first bytes")

    def _add(self, name, offset, size):
        self.fields.append(Field(name, offset, size))

    def _read_bytes(self, begin, end, name, step=1):
        for offset in range(begin, end, step):
            self._add(name, offset, step)

    def _read_table(self, data, offset, entries, name):
        """Fields of a table of 64-bit entries; returns the offsets in those that are not 0."""
        found = []
        for i in range(entries):
            place = offset + 8 * i
            if place + 8 > len(data):
                break
            value = read(data, place, 8)
            if value:
                self._add(f"{name}[{i}]", place, 8)
                found.append(value)
        if entries:
            self._add(f"{name}[{entries - 1}]", offset + 8 * (entries - 1), 8)
        self.places.add(offset)
        return found

    def _read_v1(self, data):
        for name, offset, size in V1_FIELDS:
            self._add(f"header.{name}", offset, size)
        bits, l2_bits = data[32], data[33]
        self.cluster = 1 << bits
        entries = -(-read(data, 24, 8) // (self.cluster << l2_bits))
        for l2 in self._read_table(data, read(data, 40, 8), entries, "L1"):
            for entry in self._read_table(data, l2, 1 << l2_bits, "L2"):
                if not entry >> 63:
                    self.places.add(entry)

    def _read_v2(self, data):
        version = read(data, 4, 4)
        self.cluster = 1 << read(data, 20, 4)
        for name, offset, size in HEADER_FIELDS:
            if version >= 3 or offset < 72:
                self._add(f"header.{name}", offset, size)
        self._read_extensions(data, 72 if version < 3 else read(data, 100, 4))
        self._read_l1(data, read(data, 40, 8), read(data, 36, 4), "L1")
        refcount_table = read(data, 48, 8)
        entries = read(data, 56, 4) * self.cluster // 8
        for block in self._read_table(data, refcount_table, entries, "refcount table"):
            self.places.add(block)
            self._read_bytes(block, min(block + 64, len(data)), "refcount block", 2)
        self._read_snapshots(data)

    def _read_extensions(self, data, offset):
        while offset + 8 <= self.cluster:
            kind, length = read(data, offset, 4), read(data, offset + 4, 4)
            self._add("extension.type", offset, 4)
            self._add("extension.length", offset + 4, 4)
            if kind == 0:
                return
            self._read_bytes(offset + 8, offset + 8 + min(length, 64), "extension.data", 4)
            if kind == BITMAPS_EXTENSION:
                self._read_bitmaps(data, offset + 8)
            offset += 8 + (length + 7) // 8 * 8

    def _read_bitmaps(self, data, extension):
        size, offset = read(data, extension + 8, 8), read(data, extension + 16, 8)
        self.places.add(offset)
        self._read_bytes(offset, offset + size, "bitmap directory", 4)
        end = offset + size
        while offset + 24 <= end:
            table, entries = read(data, offset, 8), read(data, offset + 8, 4)
            self._read_table(data, table, entries, "bitmap table")
            name, extra = read(data, offset + 18, 2), read(data, offset + 20, 4)
            offset += (24 + name + extra + 7) // 8 * 8

    def _read_l1(self, data, offset, entries, name):
        extended = read(data, 4, 4) >= 3 and read(data, 72, 8) & 16
        count = self.cluster // (16 if extended else 8)
        for entry in self._read_table(data, offset, entries, name):
            table = entry & OFFSET_MASK
            self.places.add(table)
            for i in range(count):
                place = table + i * (16 if extended else 8)
                value = read(data, place, 8)
                bits = read(data, place + 8, 8) if extended else 0
                if value or bits:
                    self._add(f"L2[{i}]", place, 8)
                    if extended:
                        self._add(f"L2 bitmap[{i}]", place + 8, 8)
                if value and not value >> 62 & 1:
                    self.places.add(value & OFFSET_MASK)

    def _read_snapshots(self, data):
        offset = read(data, 64, 8)
        self.places.add(offset)
        for _ in range(read(data, 60, 4)):
            start = offset
            l1, entries = read(data, offset, 8), read(data, offset + 8, 4)
            id_size, name_size = read(data, offset + 12, 2), read(data, offset + 14, 2)
            extra = read(data, offset + 36, 4)
            for at, size in [(0, 8), (8, 4), (12, 2), (14, 2), (16, 4), (32, 4), (36, 4)]:
                self._add(f"snapshot+{at}", offset + at, size)
            offset += (40 + extra + id_size + name_size + 7) // 8 * 8
            self._read_bytes(start + 40, offset, "snapshot.data", 4)
            self._read_l1(data, l1, entries, "snapshot L1")


def interesting(random, field, anatomy, data):
    """A value that is likely to be at some limit."""
    old = read(data, field.offset, field.size)
    places = sorted(anatomy.places)
    choice = random.randrange(9)
    if choice == 0:
        value = old ^ 1 << random.randrange(8 * field.size)
    elif choice == 1:
        value = random.choice([0, 1, 2, 3, 7, 8, 9, 15, 16, 21, 22, 31, 32, 63, 64, 511, 512, 513, 1023, 1024])
    elif choice == 2:
        value = (1 << random.choice([8, 9, 15, 16, 21, 31, 32, 40, 55, 56, 61, 62, 63])) + random.randrange(-1, 2)
    elif choice == 3:
        value = -random.choice([1, 2, 8, 512, anatomy.cluster])
    elif choice == 4:
        value = old + random.choice([-1, 1, -8, 8, 512, -512, anatomy.cluster, -anatomy.cluster])
    elif choice == 5:
        value = old * 2 if random.random() < 0.5 else old // 2
    elif choice == 6:
        value = random.choice(places) | old & ~OFFSET_MASK
    elif choice == 7:
        value = random.choice(places) | random.choice([0, 1 << 63, 1, 1 << 62, 1 << 63 | 1])
    else:
        value = random.getrandbits(8 * field.size)
    return value % (1 << 8 * field.size)


def damage(random, data, anatomy):
    """Changes `data` (a bytearray) and returns what was done, in words."""
    kind = random.random()
    if kind < 0.80 and anatomy.fields:
        by_name = {}
        for field in anatomy.fields:
            by_name.setdefault(field.name.split("[")[0], []).append(field)
        field = random.choice(by_name[random.choice(sorted(by_name))])
        if field.offset + field.size > len(data):
            return "nothing"
        value = interesting(random, field, anatomy, data)
        data[field.offset:field.offset + field.size] = value.to_bytes(field.size, "big")
        return f"{field.name} at {field.offset:#x} = {value:#x}"
    if kind < 0.85:
        length = random.choice([random.randrange(len(data) + 1), random.choice(sorted(anatomy.places)),
                                max(0, len(data) - random.randrange(1, 1024))])
        del data[min(length, len(data)):]
        return f"truncated to {len(data):#x}"
    if kind < 0.92:
        places = sorted(anatomy.places)
        a, b = random.choice(places), random.choice(places)
        first, second = data[a:a + anatomy.cluster], data[b:b + anatomy.cluster]
        if len(first) == len(second) == anatomy.cluster:
            data[a:a + anatomy.cluster], data[b:b + anatomy.cluster] = second, first
        return f"clusters at {a:#x} and {b:#x} swapped"
    if kind < 0.96 and len(data) > 0:
        at = random.randrange(min(len(data), 4096))
        data[at] = random.randrange(256)
        return f"byte at {at:#x} = {data[at]:#x}"
    data.extend(bytes(random.choice([1, 511, 512, anatomy.cluster, 3 * anatomy.cluster])))
    return f"grown to {len(data):#x}"
