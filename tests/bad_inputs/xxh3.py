"""XXH3-64 of more than 240 bytes, seed 0, in plain Python: the checksum of an engine file's header."""
import struct

MASK = 2**64 - 1
SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
    "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e")
PRIME32 = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)
PRIME64 = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)
STRIPES = (len(SECRET) - 64) // 8  # of a block


def lanes(data, at):
    return struct.unpack_from("<8Q", data, at)


def accumulate(sums, data, at, secret_at):
    for i, (value, key) in enumerate(zip(lanes(data, at), lanes(SECRET, secret_at))):
        mixed = value ^ key
        sums[i ^ 1] = (sums[i ^ 1] + value) & MASK
        sums[i] = (sums[i] + (mixed & 0xFFFFFFFF) * (mixed >> 32)) & MASK


def xxh3_64(data):
    assert len(data) > 240
    sums = [PRIME32[2], PRIME64[0], PRIME64[1], PRIME64[2], PRIME64[3], PRIME32[1], PRIME64[4], PRIME32[0]]
    num_stripes = (len(data) - 1) // 64
    for stripe in range(num_stripes):
        accumulate(sums, data, 64 * stripe, 8 * (stripe % STRIPES))
        if stripe % STRIPES == STRIPES - 1:
            for i, key in enumerate(lanes(SECRET, len(SECRET) - 64)):
                sums[i] = ((sums[i] ^ (sums[i] >> 47) ^ key) * PRIME32[0]) & MASK
    accumulate(sums, data, len(data) - 64, len(SECRET) - 64 - 7)
    total = len(data) * PRIME64[0] & MASK
    keys = lanes(SECRET, 11)
    for i in range(4):
        product = (sums[2 * i] ^ keys[2 * i]) * (sums[2 * i + 1] ^ keys[2 * i + 1])
        total = (total + (product & MASK ^ product >> 64)) & MASK
    total ^= total >> 37
    total = total * 0x165667919E3779F9 & MASK
    return total ^ total >> 32
