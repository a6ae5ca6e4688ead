"""Entry point: `python -m bench.measure --build DIR`."""

import argparse
import json
import pathlib
import tempfile

from . import dcp, deepspeed, loads, machine, reads, scale, views

MEASUREMENTS = {"reads": reads, "views": views, "loads": loads, "scale": scale, "deepspeed": deepspeed, "dcp": dcp}


def main():
    parser = argparse.ArgumentParser(prog="bench/run.sh", description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=MEASUREMENTS, help="one group of measurements")
    parser.add_argument("--quick", action="store_true", help="two rounds instead of five")
    parser.add_argument("--json", type=pathlib.Path, help="write every figure here")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "weightfs-bench",
                        help="folder for the data, kept between runs (default: %(default)s)")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    tools = machine.Tools(arguments.build.resolve(), arguments.work)
    rounds = 2 if arguments.quick else 5
    print(f"machine: {machine.describe()}; {rounds} rounds, interleaved")
    figures = {"machine": machine.describe()}
    for name, measurement in MEASUREMENTS.items():
        if arguments.only in (None, name):
            figures[name] = measurement.measure(tools, rounds)
            measurement.report(figures[name])
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
