#!/usr/bin/env python3
"""Writes the malformed torch zip files of this folder and expected.json. Needs nothing but Python."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
from torch_writer import *  # noqa: E402, F403

W = tensor(storage_id())
GOOD = state_dict(w=W)
PICKLE = stream(GOOD)


def members(**lies):
    """The two members of a good file, with lies about the second."""
    return [Member("a/data.pkl", PICKLE), Member("a/data/0", bytes(16), **lies)]


def directory_cases(case):
    case("no-end-record.pt", torch_zip(GOOD)[:-1], "no zip end record")
    case("comment-cut.pt", torch_zip(GOOD, comment=b"note")[:-1], "3 bytes after the zip end record; expected its comment of 4")
    case("bytes-after-end.pt", torch_zip(GOOD, tail=b"\0" * 100), "100 bytes after the zip end record")
    case("end-record-in-comment.pt", torch_zip(GOOD, comment=b"PK\5\6" + bytes(30)), "bytes after the zip end record")
    case("no-members.pt", b"PK\3\4" + zip_file([], cd_offset=4), "an archive without members")
    case("directory-past-end.pt", torch_zip(GOOD, cd_offset=100000), "a zip directory of")
    case("directory-size-huge.pt", torch_zip(GOOD, cd_size=0xFFFFFFFE), "expected it before its end record")
    case("directory-shifted.pt", torch_zip(GOOD, cd_offset=10), "no zip directory entry")
    case("more-members-than-entries.pt", torch_zip(GOOD, count=3), "ends within entry")
    case("fewer-members-than-entries.pt", torch_zip(GOOD, count=1), "after the last of 1 zip directory entries")
    case("count-without-room.pt", torch_zip(GOOD, count=60000), "expected 60000 entries")
    case("gap-and-garbage.pt", zip_file(members(), cd_size=200), "")
    case("zip64-count-differs.pt", torch_zip(GOOD, zip64=True, count64=3), "contradict each other")
    case("zip64-offset-differs.pt", torch_zip(GOOD, zip64=True, cd_offset64=1), "contradict each other")
    case("zip64-record-past-end.pt", torch_zip(GOOD, zip64=True, record64=2**63), "expected it before its locator")
    case("zip64-record-elsewhere.pt", torch_zip(GOOD, zip64=True, record64=0), "no zip64 end record")
    case("zip64-signature.pt", torch_zip(GOOD, zip64=True, signature64=b"PK\6\5"), "no zip64 end record")
    case("second-disk.pt", torch_zip(GOOD, end_disk=1), "several disks", "unsupported")
    case("entry-signature.pt", zip_file(members(signature=b"PK\1\3")), "no zip directory entry; expected entry 1 of 2")
    case("entry-on-disk-1.pt", zip_file(members(disk=1)), "on another disk", "unsupported")
    case("extra-cut.pt", zip_file(members(extra=b"\1\0\x10\0")), "malformed extra fields")
    case("zip64-extra-absent.pt", zip_file(members(size=0xFFFFFFFF, packed=0xFFFFFFFF)), "malformed extra fields")
    case("zip64-extra-short.pt", zip_file(members(size=0xFFFFFFFF, packed=0xFFFFFFFF, extra=b"\1\0\x08\0" + bytes(8))),
         "malformed extra fields")
    huge = b"\1\0\x10\0" + struct.pack("<QQ", 2**64 - 1, 2**64 - 1)
    case("zip64-size-overflow.pt", zip_file(members(size=0xFFFFFFFF, packed=0xFFFFFFFF, extra=huge)), "reach past the data")


def member_cases(case):
    case("duplicate-member.pt", zip_file(members() + [Member("a/data/0", b"x" * 16)]), "differ by more than case")
    case("duplicate-but-for-case.pt", zip_file(members() + [Member("a/DATA.pkl", PICKLE)]), "'a/DATA.pkl'")
    case("overlapping-members.pt", zip_file(members() + [Member("a/version", b"3\n", offset=45)]), "overlap what begins at 45")
    case("same-bytes-twice.pt", zip_file(members() + [Member("a/data/1", bytes(16), offset=0)]), "overlap")
    case("member-past-end.pt", zip_file(members(size=10**6, packed=10**6)), "reach past the data")
    case("offset-past-end.pt", zip_file(members(offset=10**6)), "reach past the data")
    case("offset-into-data.pt", zip_file(members(offset=3)), "overlap what begins at 3")
    case("local-signature.pt", zip_file(members(local_signature=b"PK\3\5")), "no local header")
    case("local-name-differs.pt", zip_file([Member("a/data.pkl", PICKLE, local_name=b"a/datap.kl")] + members()[1:]),
         "the local header names 'a/datap.kl'")
    case("local-name-shorter.pt", zip_file(members(local_name=b"a/data/")), "reach past the data")
    case("local-extra-too-long.pt", zip_file(members(local_extra=60000)), "overlap")
    case("local-method-differs.pt", zip_file(members(local_method=8)), "method 8 in the local header")
    case("local-flags-differ.pt", zip_file(members(local_flags=0x801)), "flags 0x0801")
    case("stored-sizes-differ.pt", zip_file(members(size=12)), "stored, with 16 bytes in the file and 12")
    for name, flag in (("encrypted", 1), ("strong-encryption", 0x40), ("masked-directory", 0x2000)):
        case(name + ".pt", zip_file(members(flags=flag)), "an encrypted member", "unsupported")
    case("patched.pt", zip_file(members(flags=0x20)), "patch data", "unsupported")
    case("method-bzip2.pt", zip_file(members(method=12)), "compression method 12", "unsupported")
    case("nul-in-name.pt", zip_file(members() + [Member(b"a/x\0y", b"")]), "NUL")
    case("empty-name.pt", zip_file(members() + [Member(b"", b"")]), "an empty name")
    case("two-roots.pt", zip_file(members() + [Member("b/data/0", bytes(16))]), "expected a file below 'a/'")
    case("folder-with-content.pt", zip_file(members() + [Member("a/x/", b"abc")]), "expected a file below 'a/'")
    case("no-pickle.pt", zip_file([Member("a/data/0", bytes(16))]), "without 'a/data.pkl'", "unsupported")
    case("no-root.pt", zip_file([Member("data.pkl", PICKLE)]), "without 'data.pkl/data.pkl'", "unsupported")
    case("deflated-garbage.pt", zip_file([Member("a/data.pkl", PICKLE, deflate=True, data=b"\xff" * 40)] + members()[1:]),
         "deflated data that does not decode")
    case("deflated-cut.pt", zip_file(members(deflate=True, data=deflated(bytes(16))[:-2])), "deflated data")
    case("deflated-longer.pt", zip_file(members(deflate=True, data=deflated(bytes(17)))), "deflated data")
    case("deflated-shorter.pt", zip_file(members(deflate=True, data=deflated(bytes(15)))), "deflated data")
    case("deflated-crc.pt", zip_file(members(deflate=True, crc=1)), "deflated data that does not decode")
    case("deflated-pickle-bomb.pt", zip_file([Member("a/data.pkl", bytes(4_000_000), deflate=True)] + members()[1:]),
         "4000000 bytes deflated to", "limit_exceeded")
    case("version-99.pt", zip_file(members() + [Member("a/version", b"99\n")]), "version 99", "unsupported")
    case("version-text.pt", zip_file(members() + [Member("a/version", b"new")]), "version 'new'")
    case("version-long.pt", zip_file(members() + [Member("a/version", b"3" * 100)]), "expected a word or a number")
    case("byteorder-pdp.pt", zip_file(members() + [Member("a/byteorder", b"pdp")]), "byte order 'pdp'")


def storage_cases(case):
    def one(value, storages=None):
        return torch_zip(state_dict(w=value), storages)

    case("storage-absent.pt", one(W, {}), "storage '0' is not in the archive")
    case("storage-key-is-a-path.pt", one(tensor(storage_id("../data.pkl"))), "storage '../data.pkl' is not in the archive")
    case("storage-too-short.pt", one(W, {"0": bytes(15)}), "has 15 bytes; expected 16")
    case("storage-count-overflow.pt", one(tensor(storage_id(count=2**62))), "does not fit 64 bits")
    case("storage-count-negative.pt", one(tensor(storage_id(count=-1))), "-1 as its element count")
    case("storage-count-2-to-40.pt", one(tensor(storage_id(count=2**40))), "has 16 bytes; expected 4398046511104")
    case("storage-id-of-6.pt", one(tensor(storage_id(more=(b"N",)))), "a storage id of 6 items; expected 5")
    case("storage-id-module.pt", one(tensor(storage_id(tag="module"))), "begins with \"storage\"")
    case("storage-id-number.pt", one(tensor(pid(integer(3)))), "a persistent id that is a int")
    case("storage-key-negative.pt", one(tensor(pid(tup(text("storage"), glob("torch", "FloatStorage"), integer(-1), text("cpu"), integer(4))))),
         "a storage id with a int as key")
    case("storage-class-unknown.pt", one(tensor(storage_id(cls="DecimalStorage"))), "storage class torch.DecimalStorage",
         "unsupported")
    case("storage-is-a-list.pt", one(tensor(lst())), "a tensor whose storage is a list")
    case("two-sizes.pt", torch_zip(state_dict(a=W, b=tensor(storage_id(count=3), shape=(3,)))), "two sizes, 16 and 12 bytes")
    case("two-types.pt", torch_zip(state_dict(a=W, b=tensor(storage_id(cls="IntStorage")))), "two element types")


def tensor_cases(case):
    def one(**arguments):
        return torch_zip(state_dict(w=tensor(storage_id(), **arguments)))

    case("view-past-end.pt", one(offset=1), "tensor 'w'")
    case("view-stride-past-end.pt", one(strides=(2,)), "tensor 'w'")
    case("shape-overflow.pt", one(shape=(2**62, 2**62), strides=(1, 1)), "tensor 'w'")
    case("offset-overflow.pt", one(offset=2**63 - 1), "tensor 'w'")
    case("offset-negative.pt", one(offset=-1), "a storage offset that is -1")
    case("size-negative.pt", one(shape=(-1,)), "a shape with -1 in it")
    case("stride-negative.pt", one(strides=(-1,)), "a stride with -1 in it")
    case("rank-and-strides-differ.pt", one(shape=(2, 2)), "2 sizes and 1 strides")
    case("rank-65.pt", one(shape=(1,) * 65, strides=(1,) * 65), "65 dimensions; the limit is 64", "limit_exceeded")
    case("repeated-2-to-60.pt", one(shape=(2**60,), strides=(0,)), "tensor 'w'", "limit_exceeded")
    case("sparse.pt", torch_zip(state_dict(s=call(glob("torch._utils", "_rebuild_sparse_tensor"), W, W))), "sparse", "unsupported")
    case("meta-location.pt", torch_zip(state_dict(w=tensor(storage_id(location="meta"))), {}), "no data", "unsupported")
    case("one-wrapper-too-many.pt", torch_zip(state_dict(w=_wrapped(W, 70))), "wrappers")


def _wrapped(value, times):
    for _ in range(times):
        value = call(glob("torch._utils", "_rebuild_parameter"), value, b"\x89", b"N")
    return value


def mapping_cases(case):
    case("root-tensor.pt", torch_zip(W), "one tensor (a torch.Tensor)", "unsupported")
    case("root-list.pt", torch_zip(lst(W)), "a list of 1 value", "unsupported")
    case("root-tuple.pt", torch_zip(tup(W)), "a tuple of 1 value", "unsupported")
    case("root-none.pt", torch_zip(b"N"), "type NoneType", "unsupported")
    case("root-fx.pt", torch_zip(call(glob("torch.fx.graph_module", "reduce_graph_module"), dic())), "torch.fx", "unsupported")
    case("no-tensors.pt", torch_zip(dic((text("epoch"), integer(1)))), "no tensors, only a dict of epoch: int", "unsupported")
    case("unclear.pt", torch_zip(dic((text("netG"), GOOD), (text("netD"), GOOD))), "'netG' (1 tensor), 'netD' (1 tensor)", "ambiguous")
    case("name-twice.pt", torch_zip(dic((text("a"), state_dict(b=W)), (text("a.b"), W))), "'a.b'")
    case("name-reserved.pt", torch_zip(state_dict(__metadata__=W)), "'__metadata__'")
    case("name-lone-surrogate.pt", torch_zip(dic((text("a\ud800"), W))), "'a\\xed\\xa0\\x80'")
    case("key-tuple.pt", torch_zip(dic((tup(text("a")), W))), "of type tuple", "unsupported")
    case("contains-itself.pt", torch_zip(b"}q\1(" + text("w") + W + text("a") + dic((text("b"), b"h\1")) + b"u"), "'a.b' contains itself")
    laughs = b"}q\0(" + text("w") + W + b"u"
    for level in range(1, 31):
        laughs = dic((text("a"), laughs), (text("b"), b"h" + bytes([level - 1]))) + b"q" + bytes([level])
    case("billion-laughs.pt", torch_zip(dic((text("model"), laughs))), "shared again and again", "limit_exceeded")


def pickle_cases(case):
    def of(content):
        return zip_file([Member("a/data.pkl", content)] + members()[1:])

    case("pickle-empty.pt", of(b""), "a/data.pkl")
    case("pickle-cut.pt", of(PICKLE[:-1]), "a/data.pkl")
    case("pickle-unknown-opcode.pt", of(b"\x80\x02\xff."), "a/data.pkl: offset 2")
    case("pickle-two-values.pt", of(b"\x80\x02NN."), "a/data.pkl")
    case("pickle-inst.pt", of(b"(ios\nsystem\n."), "a/data.pkl", "unsupported")


def main():
    corpus = Corpus(pathlib.Path(__file__).parent)
    for write in (directory_cases, member_cases, storage_cases, tensor_cases, mapping_cases, pickle_cases):
        write(corpus.case)
    corpus.finish()


if __name__ == "__main__":
    main()
