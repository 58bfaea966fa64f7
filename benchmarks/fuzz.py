"""Fuzz every RPC, guided by coverage: any bytes and any values end in an answer or a typed error.

Needs atheris (``pip install atheris``, CPython up to 3.13) and a store with an index; a copy of it
is used. Exits with an error at the first case that ends otherwise, and where memory keeps growing.
"""

import argparse
import atexit
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path

import atheris
import structlog

# What is compiled must not be instrumented, and whatever is imported below is.
import cellkin.space.expression
import cellkin.space.projection
import cellkin.space.routes
import cellkin.store.neighbors  # noqa: F401

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
with atheris.instrument_imports(include=["cellkin.server", "cellkin.wire"]):
    from tests.fuzzing import METHODS, Harness, any_messages

    from cellkin.v1.catalog_service_pb2 import VERSION_KIND_INDEX, SetAliasRequest

# What the first cases load and compile is no leak; an alias, of which random bytes hardly ever make
# one, loads the most.
_FIRST = SetAliasRequest(kind=VERSION_KIND_INDEX, version="trio", alias="stable")
_WARM_CASES = 10_000
_REPORT_CASES = 5_000
_MOST_GROWTH_BYTES = 64 << 20
_ORDER = sorted(METHODS)


class Fuzzer:
    """Sends one case after the other."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness
        self.n_cases = self.n_refused = 0
        self.warm_bytes = 0

    def one(self, data: bytes) -> None:
        """Send one case."""
        provider = atheris.FuzzedDataProvider(data)
        method = _ORDER[provider.ConsumeIntInRange(0, len(_ORDER) - 1)]
        if provider.ConsumeIntInRange(0, 3) == 0:
            messages = [provider.ConsumeBytes(provider.remaining_bytes())]
        else:
            messages = any_messages(method, lambda n: provider.ConsumeIntInRange(0, n - 1))
        try:
            status = self._harness.send(method, messages)
        except Exception:
            # As text for a test: what the fuzzer keeps is its own encoding of it.
            print(f"FAILED {method} {messages!r}", flush=True)
            raise
        self.n_cases += 1
        self.n_refused += status is not None
        if self.n_cases == _WARM_CASES:
            self.warm_bytes = resident_bytes()
        if self.n_cases % _REPORT_CASES == 0:
            print(f"{self.n_cases} cases, {resident_bytes() >> 20} MiB", flush=True)


def resident_bytes() -> int:
    """Return the memory this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Run the cases."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("store", type=Path, help="a store with an index")
    parser.add_argument("--cases", type=int, default=100_000)
    arguments = parser.parse_args()
    logging.disable()
    # Why an answer is INTERNAL, only the log says.
    structlog.configure(
        processors=[
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
    )
    scratch = Path(tempfile.mkdtemp(prefix="cellkin-fuzz-"))
    harness = Harness(Path(shutil.copytree(arguments.store, scratch / "store")))
    if harness.send("/cellkin.v1.CatalogService/SetAlias", [_FIRST.SerializeToString()]):
        parser.error(f"{arguments.store} has no index 'trio', which cases name")
    fuzzer = Fuzzer(harness)
    # A slow case is kept where the run is, not where it was started.
    argv = [
        sys.argv[0],
        f"-atheris_runs={arguments.cases}",
        f"-artifact_prefix={scratch}/",
        "-max_len=4096",
        "-verbosity=0",
    ]
    atheris.Setup(argv, fuzzer.one)

    def report() -> None:
        grown = resident_bytes() - fuzzer.warm_bytes if fuzzer.warm_bytes else 0
        print(f"{fuzzer.n_cases} cases, {fuzzer.n_refused} refused with a reason")
        print(f"memory grew by {grown >> 20} MiB since case {_WARM_CASES}", flush=True)
        shutil.rmtree(scratch, ignore_errors=True)
        if grown > _MOST_GROWTH_BYTES:
            os._exit(1)

    # The fuzzer leaves by itself after the last case.
    atexit.register(report)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
