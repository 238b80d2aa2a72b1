"""The images that every case starts with."""
import os
import subprocess

IMAGES = ("a.qcow2", "over.qcow2", "base.qcow2", "raw.img", "odd.img", "q1.qcow", "ext.qcow2",
          "data.qcow2", "old.qcow2",
          "luks.img", "crypt.qcow2", "snap.qcow2", "empty.img", "broken.qcow2", "part.img")

COMMANDS = """
qemu-img create -q -f qcow2 a.qcow2 4M
qemu-io -c "write -P 1 0 128k" -c "write -z 256k 64k" -c "write -c -P 2 512k 64k" -c "write -P 3 1M 200k" a.qcow2
qemu-img bitmap --add a.qcow2 b0
qemu-img create -q -f qcow2 base.qcow2 2M
qemu-io -c "write -P 4 0 1M" base.qcow2
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 over.qcow2 3M
qemu-io -c "write -P 5 64k 64k" -c "write -z 512k 64k" over.qcow2
qemu-img create -q -f raw raw.img 1M
qemu-io -f raw -c "write -P 6 0 64k" -c "write -P 7 512k 4k" raw.img
qemu-img create -q -f raw odd.img 1000
qemu-io -f raw -c "write -P 8 0 700" odd.img
qemu-img create -q -f qcow q1.qcow 1M
qemu-io -c "write -P 9 0 100k" q1.qcow
qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=16k ext.qcow2 2M
qemu-io -c "write -P 10 1k 3k" -c "write -P 11 64k 64k" -c "write -z 128k 8k" ext.qcow2
qemu-img create -q -f qcow2 -o data_file=data.raw,data_file_raw=on data.qcow2 1M
qemu-io -c "write -P 12 0 64k" data.qcow2
qemu-img create -q -f qcow2 -o compat=0.10,cluster_size=512 old.qcow2 100k
qemu-io -c "write -P 13 1k 5k" old.qcow2
qemu-img create -q -f luks --object secret,id=s0,data=abc -o key-secret=s0,iter-time=10 luks.img 64k
qemu-img create -q -f qcow2 --object secret,id=s0,data=abc -o encrypt.format=luks,encrypt.key-secret=s0,encrypt.iter-time=10 crypt.qcow2 1M
qemu-img create -q -f qcow2 snap.qcow2 1M
qemu-io -c "write -P 14 0 64k" snap.qcow2
qemu-img snapshot -c s1 snap.qcow2
qemu-io -c "write -P 15 0 32k" -c "write -b -P 16 0 4k" snap.qcow2
qemu-img snapshot -c "s 2" snap.qcow2
qemu-img bitmap --add --disable -g 32k snap.qcow2 b1
: > empty.img
qemu-img create -q -f qcow2 broken.qcow2 1M
qemu-io -c "write -P 17 0 128k" broken.qcow2
printf '\\0\\0' | dd of=broken.qcow2 bs=1 seek=131074 conv=notrunc status=none
qemu-img create -q -f raw part.img 2M
printf 'pattern' > pattern
printf 'abc' > secret
mkdir folder
"""


def make(folder):
    for command in COMMANDS.strip().split("\n"):
        for attempt in range(50):  # it may fail to measure the time that a passphrase takes
            result = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True)
            if "CPU usage" not in result.stderr:
                break
        if result.returncode:
            raise RuntimeError(command + "\n" + result.stderr)
    assert all(os.path.exists(os.path.join(folder, name)) for name in IMAGES)
