"""Writes pickles, zip and tar archives by hand, well-formed or not, for the generators of malformed torch files."""

import json
import pathlib
import struct
import zlib


class Corpus:
    """Files of one folder and what is to be said of each; `write` checks nothing and keeps no other file."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.expected = {}

    def case(self, name, content, message_contains, code="corrupt"):
        (self.folder / name).write_bytes(content)
        self.expected[name] = {"code": code, "message_contains": message_contains}

    def finish(self):
        for old in self.folder.iterdir():
            if old.is_file() and old.suffix not in (".py", ".json") and old.name not in self.expected:
                old.unlink()
        text = json.dumps(self.expected, indent=1, ensure_ascii=False)
        (self.folder / "expected.json").write_text(text + "\n", encoding="utf-8")


# Values are the bytes of their opcodes.
def text(value):
    value = value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(value)) + value


def integer(value):
    return b"\x8a\x08" + struct.pack("<q", value)


def glob(module, name):
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def tup(*items):
    return b"(" + b"".join(items) + b"t"


def lst(*items):
    return b"](" + b"".join(items) + b"e"


def dic(*pairs):
    return b"}(" + b"".join(k + v for k, v in pairs) + b"u"


def call(function, *arguments):
    return function + tup(*arguments) + b"R"


def pid(value):
    return value + b"Q"


def stream(value):
    return b"\x80\x02" + value + b"."


def ints(*values):
    return tup(*map(integer, values))


def storage_id(key="0", count=4, cls="FloatStorage", more=(), location="cpu", tag="storage"):
    return pid(tup(text(tag), glob("torch", cls), text(key), text(location), integer(count), *more))


def tensor(storage, offset=0, shape=(4,), strides=(1,)):
    return call(glob("torch._utils", "_rebuild_tensor_v2"), storage, integer(offset), ints(*shape), ints(*strides),
                b"\x89", call(glob("collections", "OrderedDict")))


def state_dict(**tensors):
    return dic(*((text(name), value) for name, value in tensors.items()))


class Member:
    """One zip member; keyword arguments say in the directory (or the local header) what is not the truth."""

    def __init__(self, name, content, deflate=False, **lies):
        self.name, self.content, self.deflate, self.lies = name, content, deflate, lies


def deflated(content):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush()


def zip_file(members, end=None, zip64=False, comment=b"", tail=b"", **end_lies):
    body, directory = b"", b""
    for m in members:
        lie = m.lies.get
        name = m.name if isinstance(m.name, bytes) else m.name.encode()
        data = lie("data", deflated(m.content) if m.deflate else m.content)
        method = lie("method", 8 if m.deflate else 0)
        flags = lie("flags", 0x800)
        crc = lie("crc", zlib.crc32(m.content))
        size, packed = lie("size", len(m.content)), lie("packed", len(data))
        offset = lie("offset", len(body))
        local_name = lie("local_name", name)
        body += struct.pack("<4s5H3I2H", lie("local_signature", b"PK\3\4"), 0, lie("local_flags", flags),
                            lie("local_method", method), 0, 0, crc, packed & 0xFFFFFFFF, size & 0xFFFFFFFF,
                            len(local_name), lie("local_extra", 0)) + local_name + data
        extra = lie("extra", b"")
        directory += struct.pack("<4s6H3I5H2I", lie("signature", b"PK\1\2"), 0, 0, flags, method, 0, 0, crc,
                                 packed, size, len(name), len(extra), 0, lie("disk", 0), 0, 0, offset) + name + extra
    get = end_lies.get
    count, cd_size, cd_offset = get("count", len(members)), get("cd_size", len(directory)), get("cd_offset", len(body))
    out = body + directory + get("gap", b"")
    if zip64:
        record = len(out)
        out += struct.pack("<4sQ2H2I4Q", get("signature64", b"PK\6\6"), 44, 0, 45, 0, 0, get("count64", count),
                           get("count64", count), get("cd_size64", cd_size), get("cd_offset64", cd_offset))
        out += struct.pack("<4sIQI", b"PK\6\7", 0, get("record64", record), 1)
    out += struct.pack("<4s4H2IH", b"PK\5\6", get("end_disk", 0), 0, count, count, cd_size, cd_offset, len(comment))
    return out + comment + tail


def torch_zip(root_value, storages=None, more=(), **arguments):
    storages = {"0": bytes(16)} if storages is None else storages
    members = [Member("a/data.pkl", stream(root_value))]
    members += [Member("a/data/" + key, content) for key, content in storages.items()]
    return zip_file(members + list(more), **arguments)


MAGIC = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
SYSTEM = dic((text("protocol_version"), integer(1001)), (text("little_endian"), b"\x88"))


def legacy(root_value, keys=("0",), storages=((4, bytes(16)),), magic=MAGIC, version=integer(1001), system=SYSTEM,
           key_list=None):
    out = stream(magic) + stream(version) + stream(system) + stream(root_value)
    out += stream(key_list if key_list is not None else lst(*map(text, keys)))
    return out + b"".join(struct.pack("<q", count) + data for count, data in storages)


def tar_member(name, content, kind=b"0", size=None, checksum=None):
    header = bytearray(512)
    name = name.encode()
    header[0:len(name)] = name
    header[100:107] = b"0000644"
    header[124:136] = size if size is not None else b"%011o\0" % len(content)
    header[148:156] = b" " * 8
    header[156:157] = kind
    header[257:265] = b"ustar\x0000"
    header[148:156] = checksum if checksum is not None else b"%06o\0 " % sum(header)
    return bytes(header) + content + bytes(-len(content) % 512)


def tar_file(members):
    return b"".join(members) + bytes(1024)
