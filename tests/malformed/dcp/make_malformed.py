"""Writes the malformed `.metadata` files beside this script: python3 tests/malformed/dcp/make_malformed.py"""

import pathlib
import sys

FOLDER = pathlib.Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent))

from dcp_metadata import METADATA, chunk, index, metadata, new, place, properties, size, tensor  # noqa: E402
from torch_writer import Corpus, dic, integer, lst, text, tup  # noqa: E402

def one_tensor(**changes):
    return metadata(tensors=dic((text("model.w"), tensor(**changes))))


def stored(**changes):
    return metadata(places=dic((index(), place(**changes))))


corpus = Corpus(FOLDER)
whole = metadata()
corpus.case("cut", whole[:-40], "")
corpus.case("empty", b"", "")
corpus.case("a-number", b"\x80\x02" + integer(3) + b".", "a int; expected the Metadata of a distributed checkpoint")
corpus.case("other-class", b"\x80\x02" + new("m", "Meta", {"state_dict_metadata": dic()}) + b".", "a m.Meta; expected")
corpus.case("no-tensors", b"\x80\x02" + new(METADATA, "Metadata", {"planner_data": dic()}) + b".", "state_dict_metadata")
corpus.case("list-of-tensors", metadata(tensors=lst(tensor())), "state_dict_metadata")
corpus.case("list-of-places", metadata(places=lst(place())), "storage_data that is a list")
corpus.case("key-of-a-number", metadata(tensors=dic((integer(3), tensor()))), "a key of state_dict_metadata that is 3")
corpus.case("tensor-of-a-number", metadata(tensors=dic((text("w"), integer(3)))), "'w' is a int; expected")
corpus.case("no-size", one_tensor(size=None), "tensor 'model.w': sizes that are missing")
corpus.case("size-of-text", one_tensor(size=text("x")), "sizes that are 'x'")
corpus.case("negative-size", one_tensor(size=size(-2, 3)), "sizes with -2 in them")
corpus.case("size-too-large", one_tensor(size=size(1 << 62, 1 << 62)), "does not fit 64 bits")
corpus.case("size-of-65-dimensions", one_tensor(size=size(*[1] * 65)), "sizes of 65 dimensions; the limit is 64",
            "limit_exceeded")
corpus.case("no-properties", one_tensor(properties=None), "no dtype")
corpus.case("dtype-of-text", one_tensor(properties=properties(text("float32"))), "no dtype")
corpus.case("no-chunks", one_tensor(chunks=None), "no list of chunks")
corpus.case("chunk-outside", one_tensor(chunks=lst(chunk(size(1, 0), size(2, 3)))),
            "a chunk of sizes [2, 3] at [1, 0] of a tensor of shape [2, 3]; expected it within the tensor")
corpus.case("chunk-far-outside", one_tensor(chunks=lst(chunk(size((1 << 63) - 1, 0), size((1 << 63) - 1, 3)))),
            "expected it within the tensor")
corpus.case("chunk-of-other-rank", one_tensor(chunks=lst(chunk(size(0), size(2)))), "expected it within the tensor")
corpus.case("chunk-of-a-number", one_tensor(chunks=lst(integer(1))), "offsets of a chunk that are missing")
corpus.case("negative-offset", one_tensor(chunks=lst(chunk(size(-1, 0), size(1, 3)))), "offsets of a chunk with -1")
corpus.case("place-of-a-number", metadata(places=dic((index(), integer(1)))), "expected a _StorageInfo")
corpus.case("place-of-nothing", metadata(places=dic((integer(1), place()))), "expected a MetadataIndex")
corpus.case("place-of-no-name", metadata(places=dic((index(integer(1)), place()))), "expected a MetadataIndex with a name")
corpus.case("absolute-path", stored(relative_path=text("/etc/passwd")), "stored in '/etc/passwd'; expected a plain name")
corpus.case("path-to-parent", stored(relative_path=text("../__0_0.distcp")), "expected a plain name")
corpus.case("parent", stored(relative_path=text("..")), "expected a plain name")
corpus.case("path-with-nul", stored(relative_path=text("a\0b")), "expected a plain name")
corpus.case("empty-path", stored(relative_path=text("")), "expected a plain name")
corpus.case("path-of-a-number", stored(relative_path=integer(1)), "without path, offset and length")
corpus.case("negative-place", stored(offset=integer(-1)), "without path, offset and length")
corpus.case("no-length", stored(length=None), "without path, offset and length")
corpus.case("unknown-transform", stored(transform_descriptors=lst(text("stream.zstd/2"))), "'stream.zstd/2'", "unsupported")
corpus.case("two-transforms", stored(transform_descriptors=lst(text("stream.zstd/1"), text("stream.zstd/1"))),
            "stored through the transforms", "unsupported")
corpus.case("path-of-a-list", metadata(planner=dic((text("model.w"), tup(lst())))), "the path of 'model.w' holds a list")
corpus.case("path-of-nothing", metadata(planner=dic((text("model.w"), tup()))), "the path of 'model.w' is empty")
corpus.finish()
