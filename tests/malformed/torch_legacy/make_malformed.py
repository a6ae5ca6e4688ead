#!/usr/bin/env python3
"""Writes the malformed legacy torch files of this folder and expected.json. Needs nothing but Python."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
from torch_writer import *  # noqa: E402, F403


def storage(key="0", count=4, view=b"N", **more):
    return storage_id(key, count, more=(view,), **more)


GOOD = state_dict(w=tensor(storage()))


def main():
    corpus = Corpus(pathlib.Path(__file__).parent)
    case = corpus.case
    case("magic-by-call.pt", legacy(GOOD, magic=call(glob("builtins", "eval"), text("0x1950a86a20f9469cfc6c"))),
         "a pickle that torch.save did not write", "unsupported")
    case("magic-differs.pt", legacy(GOOD, magic=MAGIC[:-1] + b"\x18"), "a pickle that torch.save did not write", "unsupported")
    case("bare-pickle.pt", stream(GOOD), "a pickle that torch.save did not write", "unsupported")
    case("version-1000.pt", legacy(GOOD, version=integer(1000)), "protocol version 1000; expected 1001", "unsupported")
    case("version-by-call.pt", legacy(GOOD, version=call(glob("builtins", "int"), text("1001"))), "expected the protocol version")
    case("system-is-a-list.pt", legacy(GOOD, system=lst()), "expected a dict of numbers")
    case("system-holds-a-call.pt", legacy(GOOD, system=dic((text("x"), call(glob("os", "system"), text("true"))))),
         "expected a dict of numbers")
    case("only-the-magic.pt", stream(MAGIC), "offset 15")
    case("object-cut.pt", legacy(GOOD)[:150], "file.pt")
    case("keys-cut.pt", legacy(GOOD)[:-30], "file.pt")
    case("keys-are-a-tuple.pt", legacy(GOOD, key_list=tup(text("0"))), "a tuple; expected the list of storage keys")
    case("key-is-a-number.pt", legacy(GOOD, key_list=lst(integer(0))), "names 0, which nothing uses")
    case("key-absent.pt", legacy(GOOD, keys=(), storages=()), "storage '0' is used but not in the list")
    case("key-not-used.pt", legacy(GOOD, keys=("0", "1"), storages=((4, bytes(16)),) * 2), "names '1', which nothing uses")
    case("key-twice.pt", legacy(GOOD, keys=("0", "0"), storages=((4, bytes(16)),) * 2), "names '0' twice")
    case("count-differs.pt", legacy(GOOD, storages=((5, bytes(20)),)), "storage '0' of 5 elements; expected 4")
    case("count-negative.pt", legacy(GOOD, storages=((-1, bytes(16)),)), "expected 4, as the pickle says")
    case("count-cut.pt", legacy(GOOD, storages=())  + bytes(7), "is it cut off?")
    case("data-cut.pt", legacy(GOOD, storages=((4, bytes(15)),)), "is it cut off?")
    case("data-absent.pt", legacy(GOOD, storages=((4, b""),)), "is it cut off?")
    case("size-of-2-to-40.pt", legacy(state_dict(w=tensor(storage(count=2**40))), storages=((2**40, b""),)), "is it cut off?")
    case("size-overflow.pt", legacy(state_dict(w=tensor(storage(count=2**62))), storages=((2**62, b""),)), "does not fit 64 bits")
    case("id-of-5.pt", legacy(state_dict(w=tensor(storage_id()))), "a storage id of 5 items; expected 6")
    case("two-sizes.pt", legacy(dic((text("a"), tensor(storage())), (text("b"), tensor(storage(count=3), shape=(3,))))), "two sizes")
    case("two-types.pt", legacy(dic((text("a"), tensor(storage())), (text("b"), tensor(storage(cls="IntStorage"))))), "two element types")
    for name, view in (("past-end", ints(0, 1, 4)), ("overflow", ints(0, 2**62, 4)), ("of-2", ints(0, 1)),
                       ("key-number", ints(0, 0, 4))):
        view = view if name in ("of-2", "key-number") else tup(text("v"), *[integer(n) for n in
                                                                     {"past-end": (1, 4), "overflow": (2**62, 4)}[name]])
        case("view-%s.pt" % name, legacy(state_dict(w=tensor(storage(view=view)))), "a view of storage '0'")
    case("tensor-past-view.pt", legacy(state_dict(w=tensor(storage(view=tup(text("v"), integer(2), integer(2)))))), "tensor 'w'")
    case("tensor-past-end.pt", legacy(state_dict(w=tensor(storage(), offset=1))), "tensor 'w'")
    case("root-tensor.pt", legacy(tensor(storage())), "one tensor", "unsupported")
    case("root-list.pt", legacy(lst(tensor(storage()))), "a list of 1 value", "unsupported")
    corpus.finish()


if __name__ == "__main__":
    main()
