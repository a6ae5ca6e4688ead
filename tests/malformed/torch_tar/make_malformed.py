#!/usr/bin/env python3
"""Writes the malformed tar-era torch files of this folder and expected.json. Needs nothing but Python."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
from torch_writer import *  # noqa: E402, F403


def storages(count=1, key=integer(1), cls=glob("torch", "FloatStorage"), numbers=4, data=bytes(16), views=lst()):
    return (stream(integer(count)) + stream(tup(key, text("cpu"), cls)) + struct.pack("<q", numbers) + data +
            stream(views))


def tensors(count=1, key=2, storage=1, rank=1, sizes=(4,), strides=(1,), offset=0):
    numbers = (*sizes, *strides, offset)
    return (stream(integer(count)) + stream(tup(integer(key), integer(storage), glob("torch", "FloatTensor"))) +
            struct.pack("<ii%dq" % len(numbers), rank, 0, *numbers))


OBJECT = stream(dic((text("w"), pid(integer(2)))))


def archive(s=None, t=None, o=OBJECT, more=()):
    s = storages() if s is None else s
    t = tensors() if t is None else t
    return tar_file([tar_member("sys_info", stream(dic())), tar_member("pickle", o), tar_member("tensors", t),
                     tar_member("storages", s), *more])


def tar_cases(case):
    case("header-checksum.pt", tar_member("sys_info", b"") + tar_member("pickle", OBJECT, checksum=b"000123\0 ") + bytes(1024),
         "offset 512: no tar header")
    case("header-size-text.pt", tar_member("sys_info", b"") + tar_member("pickle", b"", size=b"twelve bytes") + bytes(1024),
         "no tar header")
    case("member-past-end.pt", tar_member("pickle", b"", size=b"77777777777\0"), "reaches past the end")
    case("member-size-2-to-63.pt", tar_member("pickle", b"", size=b"\x80\0\0\0" + struct.pack(">Q", 2**63)), "reaches past the end")
    case("member-size-2-to-88.pt", tar_member("pickle", b"", size=b"\x80" + b"\xff" * 11), "no tar header")
    case("header-cut.pt", archive()[:-1024] + b"x" * 100, "the file ends within a tar header")
    case("garbage-after-members.pt", archive()[:-1024] + b"x" * 512, "no tar header")
    case("pax-malformed.pt", tar_member("x", b"99 path=pickle\n", b"x") + archive(), "a malformed pax header")
    case("pickle-twice.pt", archive(more=[tar_member("pickle", OBJECT)]), "2 members are called 'pickle'")
    linked = tar_member("tensors", tensors()) + tar_member("storages", storages())
    case("pickle-is-a-link.pt", linked + tar_member("pickle", b"", b"2") + bytes(1024), "'pickle' is no ordinary file")
    case("pickle-is-a-folder.pt", linked + tar_member("pickle", b"", b"5") + bytes(1024), "'pickle' is no ordinary file")
    case("no-tensors-member.pt", tar_file([tar_member("storages", storages()), tar_member("pickle", OBJECT)]),
         "without the members of a torch checkpoint", "unsupported")
    case("plain-tar.pt", tar_file([tar_member("readme", b"hello")]), "without the members of a torch checkpoint", "unsupported")


def storage_cases(case):
    case("storages-count-text.pt", archive(stream(text("1")) + storages()), "a count that is '1'")
    case("storages-count-2.pt", archive(storages(count=2)), "no (key, location, storage class)")
    case("storages-count-0.pt", archive(storages(count=0)), "expected the list of views")
    case("storage-class-unknown.pt", archive(storages(cls=glob("os", "system"))), "no (key, location, storage class)")
    case("storage-key-tuple.pt", archive(storages(key=tup())), "no (key, location, storage class)")
    case("storage-size-negative.pt", archive(storages(numbers=-1)), "a storage size of -1")
    case("storage-size-overflow.pt", archive(storages(numbers=2**62)), "does not fit 64 bits")
    case("storage-past-end.pt", archive(storages(numbers=2**40)), "is the file cut off?")
    case("view-of-nothing.pt", archive(storages(views=lst(ints(3, 9, 0, 1)))), "which is no storage")
    case("view-past-end.pt", archive(storages(views=lst(ints(3, 1, 2, 3)))), "a storage view of 3 elements from 2")
    case("view-of-3.pt", archive(storages(views=lst(ints(3, 1, 2)))), "that is not (key, root key, offset, count)")
    case("view-twice.pt", archive(storages(views=lst(ints(1, 1, 0, 4)))), "a second time")


def tensor_cases(case):
    case("tensors-count-2.pt", archive(t=tensors(count=2)), "tensors: offset")
    case("tensors-count-2-to-40.pt", archive(t=tensors(count=2**40)), "1099511627776 tensors; the limit is", "limit_exceeded")
    case("tensor-of-nothing.pt", archive(t=tensors(storage=9)), "of storage '9', which is not there")
    case("tensor-key-of-storage.pt", archive(t=tensors(key=1)), "a second time")
    case("tensor-rank-negative.pt", archive(t=tensors(rank=-1)), "of -1 dimensions")
    case("tensor-rank-65.pt", archive(t=tensors(rank=65)), "of 65 dimensions; the limit is 64", "limit_exceeded")
    case("tensor-rank-cut.pt", archive(t=tensors(rank=9)), "is the file cut off?")
    case("tensor-size-negative.pt", archive(t=tensors(sizes=(-4,))), "a size or stride of -4")
    case("tensor-stride-negative.pt", archive(t=tensors(strides=(-1,))), "a size or stride of -1")
    case("tensor-offset-negative.pt", archive(t=tensors(offset=-1)), "a storage offset of -1")
    case("tensor-past-end.pt", archive(t=tensors(offset=1)), "tensor 'w'")
    case("tensor-overflow.pt", archive(t=tensors(sizes=(2**62,), strides=(2**62,))), "tensor 'w'")
    case("object-of-nothing.pt", archive(o=stream(dic((text("w"), pid(integer(7)))))), "no tensors", "unsupported")
    case("object-cut.pt", archive(o=OBJECT[:-1]), "pickle")
    case("object-is-a-tensor.pt", archive(o=stream(pid(integer(2)))), "one tensor", "unsupported")


def main():
    corpus = Corpus(pathlib.Path(__file__).parent)
    for write in (tar_cases, storage_cases, tensor_cases):
        write(corpus.case)
    corpus.finish()


if __name__ == "__main__":
    main()
