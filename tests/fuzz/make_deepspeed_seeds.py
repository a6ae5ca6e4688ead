#!/usr/bin/env python3
"""Writes the seeds of fuzz_deepspeed. Needs nothing but Python."""

import pathlib
import struct
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "malformed"))
from torch_writer import *  # noqa: E402, F403

# As in fuzz_deepspeed.cc.
MODEL, MODEL_1, PARTITION, PARTITION_1, OPTIMIZER, OPTIMIZER_1, OPTIMIZER_OF_1, EXPERT, EXPERT_1, LAYER, LAYER_1, UNIVERSAL = range(12)
MASTER, MODULE, PARTIAL = 0, 1, 2


def named(**values):
    return dic(*((text(key.replace("__", ".")), value) for key, value in values.items()))


def size(*extents):
    return call(glob("torch", "Size"), ints(*extents))


def vector(key, count, offset=0):
    return tensor(storage_id(key, 16), offset, (count,), (1,))


def stage(number):
    return call(glob("deepspeed.runtime.zero.config", "ZeroStageEnum"), integer(number))


def model(module, shapes, **more):
    values = {"module": module, "buffer_names": lst(text("buffer")), "param_shapes": shapes, "shared_params": dic(),
              "global_steps": integer(1), "dp_world_size": integer(2), "mp_world_size": integer(1), "ds_version": text("0.19.8")}
    return named(**(values | more))


def optimizer(groups, count, key="single_partition_of_fp32_groups", **more):
    adam = named(state=dic((integer(0), named(step=tensor(storage_id("2", 16), 0, (), ())))), param_groups=lst(named(lr=integer(1))))
    return named(optimizer_state_dict=named(**({key: groups, "partition_count": count, "base_optimizer_state": adam} | more)))


def main():
    def seed(name, options, *files):
        content = bytes([options])
        for number, value in files:
            pickled = stream(value)
            content += bytes([number]) + struct.pack("<H", len(pickled)) + pickled
        folder = HERE / "corpus" / "fuzz_deepspeed"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    shapes = lst(named(a=size(2, 3), b=size(5)))
    module = state_dict(a=tensor(storage_id("0", 16), 0, (2, 3), (3, 1)), b=vector("1", 5), buffer=vector("2", 1), tied=vector("1", 5))
    pieces = (OPTIMIZER, optimizer(lst(vector("0", 6)), lst(integer(2)), zero_stage=stage(2))), (
        OPTIMIZER_1, optimizer(lst(vector("1", 5)), lst(integer(2)), zero_stage=stage(2)))
    states = (MODEL, model(module, shapes, shared_params=named(tied=text("b"))))
    seed("zero2", MASTER, states, *pieces)
    seed("zero2-module", MODULE, states, *pieces)
    seed("zero2-partial", PARTIAL, states, pieces[0])
    seed("zero2-aligned", MASTER, states, (OPTIMIZER, optimizer(
        lst(vector("0", 12)), integer(1), param_alignment_paddings=lst(lst(integer(1), integer(0))))))
    frozen = named(f=size(3))
    placeholders = state_dict(a=vector("0", 0), b=vector("0", 0), f=vector("0", 0), buffer=vector("2", 1))
    zero3 = [(number, model(placeholders, lst(named(a=size(2, 3)), named(b=size(5))), frozen_param_shapes=frozen,
                            frozen_param_fragments=state_dict(f=vector("2", 2)))) for number in (PARTITION, PARTITION_1)]
    zero3 += [(number, optimizer(lst(vector("0", 3), vector("1", 3)), integer(2), key="fp32_flat_groups", zero_stage=stage(3)))
              for number in (OPTIMIZER, OPTIMIZER_1)]
    seed("zero3", MASTER, *zero3)
    seed("zero3-partial", PARTIAL, *zero3[:3])
    experts = "m.deepspeed_moe.experts.deepspeed_experts.{}.w"
    seed("experts", MASTER,
         (MODEL, model(state_dict(a=vector("0", 5)), lst(named(a=tup(integer(5))), dic((text(experts.format(0)), tup(integer(4))))),
                       num_experts=lst(integer(2)))),
         (OPTIMIZER, optimizer(lst(vector("0", 4), vector("1", 4)), lst(integer(2), integer(1)))),
         (OPTIMIZER_1, optimizer(lst(vector("0", 1), vector("1", 4)), lst(integer(2), integer(1)))),
         (EXPERT, dic((text(experts.format(0)), vector("2", 4)))), (EXPERT_1, dic((text(experts.format(1)), vector("2", 4)))))
    seed("pipeline", MASTER,
         (MODEL, model(b"N", lst(dic((text("0.w"), size(4)), (text("tied_modules.t.w"), size(3)))))),
         (OPTIMIZER, optimizer(lst(vector("0", 7)), integer(1))), (LAYER, state_dict(w=vector("1", 4))),
         (LAYER_1, state_dict(w=vector("2", 3))))
    info = named(tp_replicated_parameter_patterns=lst(text("b")), parameter_with_row_parallelism_patterns=lst(text("a")),
                 original_vocab_size=integer(3))
    seed("tensor-parallel", MODULE, (MODEL, model(module, shapes, universal_checkpoint_info=info)),
         (MODEL_1, model(module, shapes, universal_checkpoint_info=info)))
    seed("universal", MASTER, (MODEL, model(state_dict(a=vector("0", 5)), lst(named(a=size(5))), ds_config=named(
        zero_optimization=named(round_robin_gradients=b"\x88")))), (UNIVERSAL, named(param=vector("0", 5), cat_dim=integer(0))))


if __name__ == "__main__":
    main()
