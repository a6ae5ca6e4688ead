"""Writes the seeds of fuzz_dcp_metadata: python3 tests/fuzz/make_dcp_seeds.py"""

import pathlib
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "malformed"))

from dcp_metadata import METADATA, chunk, index, metadata, new, place, size, tensor  # noqa: E402
from torch_writer import dic, integer, lst, text, tup  # noqa: E402

FOLDER = HERE / "corpus" / "fuzz_dcp_metadata"
FOLDER.mkdir(parents=True, exist_ok=True)


def boxes(*cuts):
    return tensor(size=size(4, 6), chunks=lst(*(chunk(size(*offsets), size(*sizes)) for offsets, sizes in cuts)))


def places(*offsets, **changes):
    return dic(*((index(offset=size(*one)), place(**changes)) for one in offsets))


SEEDS = {
    "one": metadata(),
    "rows": metadata(dic((text("model.w"), boxes(((0, 0), (1, 6)), ((1, 0), (3, 6))))), places((0, 0), (1, 0))),
    "grid": metadata(dic((text("model.w"), boxes(*(((r, c), (2, 3)) for r in (0, 2) for c in (0, 3))))),
                     places((0, 0), (0, 3), (2, 0), (2, 3))),
    "gap": metadata(dic((text("model.w"), boxes(((0, 0), (1, 6)), ((2, 0), (2, 6)))))),
    "overlap": metadata(dic((text("model.w"), boxes(((0, 0), (3, 6)), ((2, 0), (2, 6)))))),
    "zstd": metadata(places=places((0, 0), transform_descriptors=lst(text("stream.zstd/1")))),
    "scalar": metadata(dic((text("s"), tensor(size=size(), chunks=lst(chunk(size(), size())))))),
    "empty": metadata(dic((text("s"), tensor(size=size(0, 3), chunks=lst(chunk(size(0, 0), size(0, 3))))))),
    "value": metadata(dic((text("epoch"), new(METADATA, "BytesStorageMetadata")), (text("model.w"), tensor()))),
    "subtrees": metadata(
        dic(*((text(".".join(path)), tensor()) for path in (("ema", "w"), ("optim", "w"), ("app", "model", "w")))),
        planner=dic(*((text(".".join(path)), tup(*map(text, path)))
                      for path in (("ema", "w"), ("optim", "w"), ("app", "model", "w"))))),
    "list": metadata(dic((text("a.0"), tensor())), planner=dic((text("a.0"), tup(text("a"), integer(0))))),
}
for name, content in SEEDS.items():
    (FOLDER / name).write_bytes(content)
