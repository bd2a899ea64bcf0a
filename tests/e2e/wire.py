# SPDX-License-Identifier: MIT
"""First bytes, made to measure."""
import os
import struct

SSH = b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"
GARBAGE = b"\xff\xfe\xfd\xfc no such protocol\r\n"


def get(host="a.test", path="/", more=""):
    return ("GET %s HTTP/1.1\r\nHost: %s\r\n%sConnection: close\r\n\r\n" % (path, host, more)).encode()


def _with_length(size, data):
    return struct.pack(">I", len(data))[4 - size:] + data


def extension(number, data):
    return struct.pack(">H", number) + _with_length(2, data)


def hello_body(sni=None, alpn=(), padding=0, sni_last=False):
    """The handshake message ClientHello: RFC 8446 4.1.2, offering TLS 1.3 and 1.2."""
    extensions = [extension(0x002b, b"\x04\x03\x04\x03\x03"),
                  extension(0x000a, b"\x00\x04\x00\x1d\x00\x17"),
                  extension(0x000d, b"\x00\x04\x04\x03\x08\x04"),
                  extension(0x0033, _with_length(2, b"\x00\x1d" + _with_length(2, os.urandom(32))))]
    if padding:
        extensions.append(extension(0x0015, b"\0" * padding))
    if alpn:
        extensions.append(extension(0x0010, _with_length(2, b"".join(_with_length(1, a.encode()) for a in alpn))))
    if sni is not None:
        name = sni if isinstance(sni, bytes) else sni.encode()
        row = extension(0x0000, _with_length(2, b"\0" + _with_length(2, name)))
        extensions.insert(len(extensions) if sni_last else 0, row)
    body = (b"\x03\x03" + os.urandom(32) + _with_length(1, os.urandom(32)) + _with_length(2, b"\x13\x01\x13\x02\xc0\x2b")
            + b"\x01\x00" + _with_length(2, b"".join(extensions)))
    return b"\x01" + _with_length(3, body)


def record(data, kind=22, version=b"\x03\x01"):
    return bytes([kind]) + version + _with_length(2, data)


def hello(sni=None, alpn=(), sizes=(), **more):
    """A ClientHello in TLS records; `sizes` are those of the first records, the last takes the rest."""
    body, out = hello_body(sni, alpn, **more), b""
    for size in sizes:
        out += record(body[:size])
        body = body[size:]
    while body:
        out += record(body[:16384])
        body = body[16384:]
    return out


def broken_hello(sni="a.test"):
    """A ClientHello whose extensions claim to be longer than the message."""
    whole = bytearray(hello(sni))
    at = whole.index(b"\x00\x00", 5 + 4 + 2 + 32 + 33 + 8 + 2)  # the first extension's number: server_name
    whole[at + 2:at + 4] = b"\xff\xff"
    return bytes(whole)


def dns_query(name="example.com", qtype=1):
    """A query as it travels over TCP."""
    labels = b"".join(_with_length(1, part.encode()) for part in name.split(".")) + b"\0"
    return _with_length(2, b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + labels + struct.pack(">HH", qtype, 1))
