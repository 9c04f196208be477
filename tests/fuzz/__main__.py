"""Fuzzing of every door: `python -m tests.fuzz --mutations 2000`.

Prints a table by door and, with `--messages`, every kind of refusal that was met, so that a person can read whether it
names the true cause. Exit code 1 where anything but a refusal in words left a door.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

from tests.fuzz.doors import DOORS
from tests.fuzz.runner import alike, bytes_of, entered


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--mutations", type=int, default=2000, metavar="N", help="of all doors together (default 2000)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first mutation of each door")
    parser.add_argument("--door", choices=list(DOORS), action="append", help="only this door")
    parser.add_argument("--messages", type=int, default=0, metavar="N", help="print the N commonest refusals")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="write the inputs that were no refusal into a folder")
    arguments = parser.parse_args()
    doors = arguments.door or list(DOORS)
    each = -(-arguments.mutations // len(doors))
    which = [(door, number) for door in doors for number in range(arguments.first, arguments.first + each)]
    results = []
    for result in entered(which):
        results.append(result)
        if result.fault:
            print(f"FAULT {result.door} {result.number}: {result.fault}", file=sys.stderr, flush=True)
            if arguments.keep:
                arguments.keep.mkdir(parents=True, exist_ok=True)
                (arguments.keep / f"{result.door}-{result.number}").write_bytes(bytes_of(result.door, result.number))
    print(f"{'door':18} {'mutations':>9} {'refused':>8} {'read':>6} {'faults':>6} {'slowest':>9} {'peak':>8}")
    for door in doors:
        own = [result for result in results if result.door == door]
        refused, faults = (sum(bool(getattr(result, name)) for result in own) for name in ("refused", "fault"))
        print(
            f"{door:18} {len(own):9} {refused:8} {len(own) - refused - faults:6} {faults:6}"
            f" {max(result.seconds for result in own):7.2f} s {max(result.megabytes for result in own):5.0f} MB"
        )
    if arguments.messages:
        met = Counter((result.door, alike(result.refused)) for result in results if result.refused)
        for (door, message), count in met.most_common(arguments.messages):
            print(f"{count:5} {door:18} {message}")
    return int(any(result.fault for result in results))


if __name__ == "__main__":
    sys.exit(main())
