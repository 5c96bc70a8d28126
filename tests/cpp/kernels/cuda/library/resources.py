"""Holds what every CUDA kernel takes of a multiprocessor against the budget of budget.txt.

Reads registers and local memory from the library's machine code. A kernel without a budget, a
budget without a kernel, a number above its budget, or any local memory (a register spill, an array
that is indexed at run time) fails. The report has the layout of the budget:

    kernel  architecture  registers  shared memory (dynamic, bytes)
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

BUDGET = Path(__file__).with_name("budget.txt")


class Resources(NamedTuple):
    registers: int
    shared_memory: int


def run(*command: str, stdin: str | None = None) -> str:
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, input=stdin, text=True
    ).stdout


def short_name(function: str) -> str:
    """stream_columns_kernel<Tf32Product, 64>, of the demangled signature."""
    name = re.sub(r"^void |paco::(cuda::)?|\(anonymous namespace\)::", "", function)
    return name.split("(")[0]


def measure(cuobjdump: str, library: str, shared_memory: str) -> tuple[dict, list[str]]:
    dynamic = dict(line.rsplit(" ", 1) for line in run(shared_memory).splitlines())
    resources: dict[tuple[str, str], Resources] = {}
    spills = []
    arch = kernel = ""
    usage = run("c++filt", stdin=run(cuobjdump, "-res-usage", library))
    for line in usage.splitlines():
        if match := re.match(r"arch = (sm_\d+)", line):
            arch = match[1]
        elif match := re.match(r"\s*Function (.*):$", line):
            kernel = short_name(match[1])
        elif match := re.search(r"REG:(\d+) STACK:(\d+) .*LOCAL:(\d+)", line):
            registers, stack, local = map(int, match.groups())
            resources[kernel, arch] = Resources(registers, int(dynamic.get(kernel, 0)))
            if stack or local:
                spills.append(f"{kernel} for {arch} has {stack + local} bytes of local memory")
    return resources, spills


def write_table(path: Path, resources: dict[tuple[str, str], Resources]) -> None:
    lines = [
        f"{kernel:<82} {arch:<6} {used.registers:>4} {used.shared_memory:>7}\n"
        for (kernel, arch), used in sorted(resources.items())
    ]
    path.write_text("".join(lines))


def read_table(path: Path) -> dict[tuple[str, str], Resources]:
    table = {}
    for line in path.read_text().splitlines():
        kernel, arch, registers, shared_memory = line.rsplit(maxsplit=3)
        table[kernel, arch] = Resources(int(registers), int(shared_memory))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cuobjdump", required=True)
    parser.add_argument("--library", required=True)
    parser.add_argument("--shared-memory", required=True, help="the program of shared_memory.cpp")
    parser.add_argument("--report", type=Path, required=True)
    options = parser.parse_args()

    resources, failures = measure(options.cuobjdump, options.library, options.shared_memory)
    write_table(options.report, resources)
    budget = read_table(BUDGET)
    for key in sorted(resources.keys() | budget.keys()):
        name = " for ".join(key)
        if key not in budget:
            failures.append(f"{name} has no budget")
        elif key not in resources:
            failures.append(f"{name} has a budget, but is not in the library")
        else:
            for field, used, allowed in zip(
                Resources._fields, resources[key], budget[key], strict=True
            ):
                if used > allowed:
                    failures.append(f"{name}: {used} {field}, {allowed} allowed")
    print(options.report.read_text())
    if failures:
        sys.exit("\n".join(failures))
    print(f"{len(resources)} kernels are within their budgets and without local memory")


if __name__ == "__main__":
    main()
