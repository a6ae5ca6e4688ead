"""ZeRO-3 saves as DeepSpeed lays them out (docs/formats/deepspeed.md), written by torch alone: masters and no moments."""

import collections
import contextlib
import json

import torch

TAG = "global_step1"


def _flat_groups(pieces, dtype=torch.float32):
    flat = torch.cat([piece.reshape(-1) for piece in pieces]) if pieces else torch.empty(0, dtype=dtype)
    flat.ds_id = "0"  # DeepSpeed marks its vectors so, which makes torch pickle them as a subclass.
    return [flat]


def _save_rank(folder, rank, ranks, flat_groups, shapes, dtype):
    name = f"zero_pp_rank_{rank}_mp_rank_00"
    optimizer = {"zero_stage": 3, "partition_count": ranks, "fp32_flat_groups": flat_groups,
                 "optimizer_state_dict": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1}]}}
    torch.save({"optimizer_state_dict": optimizer, "ds_config": {}, "ds_version": "0.19.8"},
               folder / f"{name}_optim_states.pt")
    shared = {}
    torch.save({"module": collections.OrderedDict((key, torch.empty(0, dtype=dtype)) for key in shapes),
                "buffer_names": [], "param_shapes": [shapes], "frozen_param_shapes": {}, "frozen_param_fragments": {},
                "shared_params": shared, "global_steps": 1, "dp_world_size": ranks, "mp_world_size": 1,
                "ds_config": {}, "ds_version": "0.19.8"}, folder / f"{name}_model_states.pt")


def make_zero3(folder, repository, ranks):
    """The model of `repository` as masters on `ranks` ranks, with its config.json beside it."""
    if (folder / "done").exists():
        return folder
    tag = folder / TAG
    tag.mkdir(parents=True, exist_ok=True)
    state = torch.load(repository / "pytorch_model.bin", mmap=True)
    shapes = collections.OrderedDict((name, tensor.shape) for name, tensor in state.items())
    for rank in range(ranks):
        pieces = []
        for tensor in state.values():
            each = -(-tensor.numel() // ranks)
            piece = torch.zeros(each)
            part = tensor.reshape(-1)[rank * each : (rank + 1) * each].float()
            piece[: part.numel()] = part
            pieces.append(piece)
        _save_rank(tag, rank, ranks, _flat_groups(pieces), shapes, torch.bfloat16)
    (folder / "latest").write_text(TAG)
    config = json.loads((repository / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    (folder / "done").touch()
    return folder


def make_sparse_zero3(folder, ranks, parameters, elements):
    """`ranks` ranks with `parameters` parameters of `elements` elements each; the files are holes."""
    if (folder / "done").exists():
        return folder
    tag = folder / TAG
    tag.mkdir(parents=True, exist_ok=True)
    shapes = collections.OrderedDict(
        (f"model.layers.{i}.mlp.weight", torch.Size([elements // 64, 64])) for i in range(parameters))
    each = -(-elements // ranks)
    flat = torch.empty(each * parameters)
    flat.ds_id = "0"
    skip = getattr(torch.serialization, "skip_data", contextlib.nullcontext)
    with skip():
        for rank in range(ranks):
            _save_rank(tag, rank, ranks, [flat], shapes, torch.bfloat16)
    (folder / "latest").write_text(TAG)
    (folder / "done").touch()
    return folder
