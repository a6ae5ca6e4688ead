#!/usr/bin/env python3
"""Writes the seeds of the torch fuzz targets. Needs nothing but Python."""

import pathlib
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "malformed"))
from torch_writer import *  # noqa: E402, F403


def main():
    def seed(target, name, content):
        folder = HERE / "corpus" / target
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    hooks = call(glob("collections", "OrderedDict"))
    utils, parameter = "torch._utils", glob("torch.nn.parameter", "Parameter")
    w = tensor(storage_id())
    untyped = call(glob(utils, "_rebuild_tensor_v3"), storage_id(count=16, cls="UntypedStorage"), integer(0), ints(8),
                   ints(1), b"\x89", hooks, glob("torch", "uint16"))
    negated = call(glob(utils, "_rebuild_tensor_v2"), storage_id("1", 2, "ComplexFloatStorage"), integer(0), ints(2),
                   ints(1), b"\x89", hooks, dic((text("conj"), b"\x88"), (text("neg"), b"\x88")))
    module = glob("my.nets", "Net") + tup() + b"\x81" + dic(
        (text("_parameters"), state_dict(p=w)), (text("_buffers"), state_dict(b=w)), (text("_modules"), dic()),
        (text("_non_persistent_buffers_set"), call(glob("builtins", "set"), lst(text("b"))))) + b"b"
    from_type = call(glob("torch._tensor", "_rebuild_from_type_v2"), glob(utils, "_rebuild_tensor_v2"),
                     glob("my.lib", "Sub"), tup(storage_id(), integer(0), ints(4), ints(1), b"\x89", hooks), dic())
    objects = {
        "tensors": state_dict(a=w, b=tensor(storage_id(), 1, (1, 2), (2, 1)), c=untyped, d=negated),
        "parameters": state_dict(a=call(glob(utils, "_rebuild_parameter"), w, b"\x88", hooks), b=from_type,
                                 c=parameter + tup(w) + b"\x81" + tup(b"\x88", b"\x89", hooks) + b"b",
                                 d=call(glob(utils, "_rebuild_sparse_tensor"), w, tup(w))),
        "training": dic((text("model"), dic((text("state_dict"), state_dict(w=w)))), (text("epoch"), integer(1)),
                        (text("optimizer"), dic((integer(0), state_dict(m=w)))), (text("args"), call(glob("my", "Args")))),
        "values": dic((text("model"), state_dict(w=w)), (text("args"), glob("argparse", "Namespace") + tup() + b"\x81" + dic(
            (text("n_layer"), integer(2)), (text("dtype"), glob("torch", "bfloat16")), (text("size"), call(glob("torch", "Size"), ints(2, 3))),
            (text("big"), b"\x8a\x09" + bytes(8) + b"\x01"), (text("list"), lst(b"N", b"\x88", w, ints(1))), (integer(3), text("\u00e9"))) + b"b"),
            (text("tree"), glob("omegaconf", "DictConfig") + tup() + b"\x81" + dic(
                (text("_metadata"), b"N"), (text("_content"), dic((text("k"), integer(1))))) + b"b"),
            (text("slots"), glob("my", "S") + tup() + b"\x81" + tup(b"N", dic((text("x"), integer(1)))) + b"b")),
        "module": module,
        "cycle": b"}q\1(" + text("w") + w + text("a") + dic((text("b"), b"h\1")) + b"u",
        "shared": b"}q\1(" + text("a") + state_dict(w=w) + b"q\2" + text("b") + b"h\2u",
    }
    for name, value in objects.items():
        seed("fuzz_torch_object", name, stream(value))
    data = {"0": bytes(range(16)), "1": bytes(range(16))}
    seed("fuzz_torch_zip", "tensors", torch_zip(objects["tensors"], data, [Member("a/version", b"3\n"),
                                                                           Member("a/byteorder", b"little")], zip64=True))
    seed("fuzz_torch_zip", "big-endian", torch_zip(objects["tensors"], data, [Member("a/byteorder", b"big")]))
    seed("fuzz_torch_zip", "deflated", zip_file([Member("a/data.pkl", stream(state_dict(w=w)), deflate=True),
                                                 Member("a/data/0", bytes(16), deflate=True)]))

    plain = tensor(storage_id(more=(b"N",)))
    view = tensor(storage_id(more=(tup(text("v"), integer(1), integer(3)),)), 0, (3,), (1,))
    seed("fuzz_torch_legacy", "tensors", legacy(state_dict(a=plain, b=view)))
    seed("fuzz_torch_legacy", "two-storages", legacy(state_dict(a=plain, b=tensor(storage_id("7", 2, more=(b"N",)), 0, (2,))),
                                                     ("7", "0"), ((2, bytes(8)), (4, bytes(16)))))

    storages = (stream(integer(1)) + stream(tup(integer(1), text("cpu"), glob("torch", "FloatStorage"))) +
                struct.pack("<q", 4) + bytes(16) + stream(lst(ints(3, 1, 1, 2))))
    tensors = (stream(integer(1)) + stream(tup(integer(2), integer(3), glob("torch", "FloatTensor"))) +
               struct.pack("<ii3q", 1, 0, 2, 1, 0))
    seed("fuzz_torch_tar", "tensors", tar_file([tar_member("sys_info", stream(dic())),
                                                tar_member("pickle", stream(dic((text("w"), pid(integer(2)))))),
                                                tar_member("tensors", tensors), tar_member("storages", storages)]))
    seed("fuzz_torch_tar", "pax", tar_member("p", b"15 path=pickle\n", b"x") + tar_member("././@LongLink", b"storages\0", b"L"))


if __name__ == "__main__":
    main()
