"""Pickles of distributed checkpoint metadata by hand, well-formed or not, for generators of test files."""

from torch_writer import call, dic, glob, integer, lst, text, tup

METADATA = "torch.distributed.checkpoint.metadata"
FILESYSTEM = "torch.distributed.checkpoint.filesystem"


def new(module, name, state=None):
    made = glob(module, name) + tup() + b"\x81"
    return made if state is None else made + dic(*((text(key), value) for key, value in state.items())) + b"b"


def size(*numbers):
    return call(glob("torch", "Size"), tup(*map(integer, numbers)))


def properties(dtype=glob("torch", "float32")):
    return glob(METADATA, "TensorProperties") + tup() + b"\x81" + tup(dtype, b"N", b"\x89", integer(0), b"\x89") + b"b"


def chunk(offsets, sizes):
    return new(METADATA, "ChunkStorageMetadata", {"offsets": offsets, "sizes": sizes})


def tensor(**changes):
    state = {"properties": properties(), "size": size(2, 3), "chunks": lst(chunk(size(0, 0), size(2, 3)))} | changes
    return new(METADATA, "TensorStorageMetadata", {key: value for key, value in state.items() if value is not None})


def index(name=text("model.w"), offset=size(0, 0)):
    return new(METADATA, "MetadataIndex", {"fqn": name, "offset": offset, "index": integer(0)})


def place(**changes):
    state = {"relative_path": text("__0_0.distcp"), "offset": integer(0), "length": integer(9)} | changes
    return new(FILESYSTEM, "_StorageInfo", {key: value for key, value in state.items() if value is not None})


def metadata(tensors=None, places=None, planner=None):
    tensors = dic((text("model.w"), tensor())) if tensors is None else tensors
    places = dic((index(), place())) if places is None else places
    planner = dic((text("model.w"), tup(text("model"), text("w")))) if planner is None else planner
    state = {"state_dict_metadata": tensors, "planner_data": planner, "storage_data": places}
    return b"\x80\x02" + new(METADATA, "Metadata", state) + b"."
