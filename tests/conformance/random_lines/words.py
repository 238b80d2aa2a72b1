"""What command lines are made of: mostly what makes sense, sometimes what does not."""

SIZES = ("0", "1", "512", "1k", "4k", "4096", "64k", "65536", "128k", "0x200", "0x10000", "1M",
         "512k", "256k", "100k")
ODD_SIZES = ("-1", "-1k", "-0", "+1", "", " ", "abc", "1x", "1kb", "1kk", "1b", "1B", "1s", "1.5k",
             "0.5M", "1.1", ".5k", "1.",
             "1e3", "1e", "0x", "0xg", "0x1k", "0X1F", "0x1.8", "010", "1K", "1m", "1g", "1G", "1T",
             "1P", "7E", "8E", "9E",
             "16E", "1Z", "513", "511", "1000", "3M", "4M", "5M", "4194303", "4194304",
             "2147483647", "2147483648", "2G",
             "4294967295", "4294967296", "9223372036854775807", "9223372036854775808",
             "9223372036854774784",
             "18446744073709551615", "18446744073709551616", "99999999999999999999999", " 512",
             "512 ", "\t1k", "1 k", "1,5",
             "nan", "inf", "infinity", "--1", "1-", "2^10", "½", "1k\n")


def chance(rng, percent):
    return rng.random() * 100 < percent


def size(rng, odd=12):
    return rng.choice(ODD_SIZES) if chance(rng, odd) else rng.choice(SIZES)


def quoted(rng, word):
    """A word as the I/O program's lines have it: blanks end it, quotes are nothing special."""
    return '"' + word + '"' if not word or chance(rng, 1) else word


def some(rng, words, most):
    return [rng.choice(words) for _ in range(rng.randint(0, most))]
