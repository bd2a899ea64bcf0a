# SPDX-License-Identifier: MIT
"""A TLS 1.3 ClientHello of the size browsers send today.

The key share of X25519MLKEM768 alone is 1216 bytes, so the hello is about 1.9 KB, and the server name stands after
it: a program that looks at the first kilobyte only does not find the name. The bytes that are random in a real hello
come from a fixed hash here, so that every run sends the same ones. Nothing answers it: the proxies under test route
by it and never decrypt.
"""

import hashlib
import struct

X25519 = 0x001D
SECP256R1 = 0x0017
X25519MLKEM768 = 0x11EC
MLKEM_SHARE_BYTES = 1184 + 32  # encapsulation key, then the X25519 part
GREASE = 0x2A2A

CIPHERS = [GREASE, 0x1301, 0x1302, 0x1303, 0xC02B, 0xC02F, 0xC02C, 0xC030, 0xCCA9, 0xCCA8,
           0xC013, 0xC014, 0x009C, 0x009D, 0x002F, 0x0035]
SIGNATURES = [0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601]


def noise(label, n_bytes):
    return hashlib.shake_128(label.encode()).digest(n_bytes)


def u16(*numbers):
    return struct.pack(f">{len(numbers)}H", *numbers)


def vec8(body):
    return bytes([len(body)]) + body


def vec16(body):
    return u16(len(body)) + body


def extension(kind, body=b""):
    return u16(kind) + vec16(body)


def server_name(name):
    return extension(0, vec16(b"\x00" + vec16(name.encode("ascii"))))


def key_share():
    shares = [(GREASE, b"\x00"), (X25519MLKEM768, noise("mlkem", MLKEM_SHARE_BYTES)), (X25519, noise("x25519", 32))]
    return extension(51, vec16(b"".join(u16(group) + vec16(key) for group, key in shares)))


def grease_ech():
    """The encrypted-hello extension browsers send even where it means nothing."""
    body = b"\x00" + u16(1, 1) + b"\x5a" + vec16(noise("enc", 32)) + vec16(noise("payload", 176))
    return extension(0xFE0D, body)


def client_hello(name):
    """One TLS record holding a ClientHello for `name`."""
    extensions = b"".join([
        extension(GREASE),
        key_share(),
        extension(43, vec8(u16(GREASE, 0x0304, 0x0303))),
        extension(10, vec16(u16(GREASE, X25519MLKEM768, X25519, SECP256R1))),
        extension(13, vec16(u16(*SIGNATURES))),
        extension(16, vec16(vec8(b"h2") + vec8(b"http/1.1"))),
        grease_ech(),
        server_name(name),
        extension(23),
        extension(0xFF01, b"\x00"),
        extension(11, vec8(b"\x00")),
        extension(35),
        extension(5, b"\x01" + u16(0, 0)),
        extension(18),
        extension(45, vec8(b"\x01")),
        extension(27, vec8(u16(2))),
        extension(21, bytes(160)),
    ])
    body = u16(0x0303) + noise("random", 32) + vec8(noise("session", 32))
    body += vec16(u16(*CIPHERS)) + vec8(b"\x00") + vec16(extensions)
    handshake = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16" + u16(0x0301) + vec16(handshake)
