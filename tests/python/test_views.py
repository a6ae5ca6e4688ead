"""What a table can make of tensors, against the same in torch: joins of ranks, rearrangements, arithmetic after a cast.
And what `inspect` and the manifest say of it, by putting tensors together again from the pieces they name."""

import itertools
import json

import pytest
import torch

from safetensors.torch import load_file

from manifest_pieces import whole_bytes

RULES = {
    "family": "views", "title": "every operation", "source": "part.NN.pth", "target": "hf",
    "weights": ["part.{part}.pth"],
    "detect": ["has('columns')"],
    "let": {"a": "4", "b": "6", "n": "2", "k": "3", "j": "2", "D": "5"},
    "tensors": [
        {"to": "columns", "from": "columns", "do": "a |b"},
        {"to": "rows", "from": "rows", "do": "|(n k j) D -> (n j k) D"},
        {"to": "turned", "from": "turned", "do": "|(a a2) b -> b (a a2)", "with": {"a2": "2"}},
        {"to": "sum", "from": "sum", "do": "+ D"},
        {"to": "mean", "from": "mean", "do": "~ D"},
        {"to": "scaled", "from": "scaled", "do": "D", "scale": 0.3, "add": -1},
        {"to": "zeros", "fill": 0, "shape": ["a", "D"], "dtype": "dtype('sum')"},
        {"to": "cut.first", "from": "cut", "do": "b D -> D b", "at": {"b": "0:2"}},
        {"to": "cut.last", "from": "cut", "do": "b D -> D b", "at": {"b": "2:b"}},
        {"to": "stacked", "from": ["one", "two"], "join": "stack", "do": "s D -> D s", "with": {"s": "2"}},
        {"to": "joined", "from": ["three", "four"], "join": 0, "do": "(s D) -> (s D)", "with": {"s": "2"}},
    ],
}


def write(folder, dtype):
    """Two rank files and what torch makes of them."""
    generator = torch.Generator().manual_seed(3)

    def draw(*shape):
        return (torch.randn(shape, generator=generator) * 3).to(dtype)

    columns, rows, turned, cut = draw(4, 6), draw(12, 5), draw(8, 6), draw(6, 5)
    replicated = {name: draw(5) for name in ("scaled", "one", "two", "three", "four")}
    sums, means = [draw(5), draw(5)], [draw(5), draw(5)]
    for rank in range(2):
        part = {"columns": columns.chunk(2, 1)[rank].clone(), "rows": rows.chunk(2, 0)[rank].clone(),
                "turned": turned.chunk(2, 0)[rank].clone(), "sum": sums[rank], "mean": means[rank], "cut": cut.clone(),
                **{name: tensor.clone() for name, tensor in replicated.items()}}
        torch.save(part, folder / f"part.0{rank}.pth")
    (folder.parent / "rules.json").write_text(json.dumps(RULES))
    expected = {
        "columns": columns, "rows": rows.view(2, 3, 2, 5).transpose(1, 2).reshape(12, 5), "turned": turned.t(),
        "sum": sums[0] + sums[1], "mean": (means[0] + means[1]) / 2, "scaled": replicated["scaled"],
        "zeros": torch.zeros(4, 5, dtype=dtype), "cut.first": cut[:2].t(), "cut.last": cut[2:].t(),
        "stacked": torch.stack([replicated["one"], replicated["two"]], 1),
        "joined": torch.cat([replicated["three"], replicated["four"]]),
    }
    return folder.parent / "rules.json", expected


def finish(expected, dtype):
    """`--dtype`, then the arithmetic of the table."""
    served = {name: tensor.to(dtype).contiguous() for name, tensor in expected.items()}
    served["scaled"] = served["scaled"] * 0.3 + -1
    return served


DTYPES = {"f64": torch.float64, "f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


@pytest.mark.parametrize("stored, served", itertools.product(DTYPES, ["keep", *DTYPES]))
def test_tables_make_what_torch_makes(source, weightfs, tmp_path, stored, served):
    rules, expected = write(source, DTYPES[stored])
    weightfs("export", source, tmp_path / "out", "--rules", rules, "--dtype", served)
    expected = finish(expected, DTYPES.get(served, DTYPES[stored]))
    got = load_file(tmp_path / "out" / "model.safetensors")
    assert got.keys() == expected.keys()
    for name, tensor in expected.items():
        assert got[name].dtype == tensor.dtype, name
        assert torch.equal(got[name], tensor), name


def test_the_manifest_tells_where_every_byte_lies(source, mount, weightfs):
    rules, expected = write(source, torch.float32)
    with mount(source, "--rules", rules) as mounted:
        manifest = json.loads((mounted / ".weightfs" / "manifest.json").read_text())
    assert manifest["family"] == "views"
    seen = set()
    for tensor in manifest["tensors"]:
        name = tensor["name"]
        assert tensor["rule"] and tensor["operations"] is not None
        if "pieces" not in tensor or name in ("sum", "mean", "zeros"):
            continue
        assert tensor["piece_count"] == len(tensor["pieces"])
        assert whole_bytes(tensor["pieces"], 4) == expected[name].contiguous().numpy().tobytes(), name
        seen.add(name)
    assert {"columns", "rows", "turned", "cut.first", "cut.last", "stacked", "joined"} <= seen
    by_name = {tensor["name"]: tensor for tensor in manifest["tensors"]}
    assert by_name["sum"]["operations"] == ["sum of 2"] and by_name["mean"]["operations"] == ["mean of 2"]
    assert {piece["term"] for piece in by_name["sum"]["pieces"]} == {0, 1}
    assert by_name["zeros"]["sources"] == [] and not by_name["zeros"]["pieces"][0]["on_disk"]


def test_inspect_explains_a_tensor(source, weightfs):
    rules, _ = write(source, torch.float16)

    def explain(name, *options):
        return weightfs("inspect", source, "--rules", rules, "--tensor", name, *options).stdout

    text = explain("columns", "--dtype", "f32")
    for words in ("F16→F32", "part.00.pth", "part.01.pth", "2 pieces", "cast f16 to f32", "a |b",
                  "1.00 source bytes for each stored byte"):
        assert words in text, text
    text = explain("cut.last")
    assert "called" in text and "cut in the source" in text and "b D -> D b" in text and "strided" in text, text
    assert "sum of 2" in explain("sum") and "2.00 source bytes" in explain("sum")
    assert "the elements are a constant" in explain("zeros")
    assert "times 0.3" in explain("scaled") and "plus -1" in explain("scaled")
