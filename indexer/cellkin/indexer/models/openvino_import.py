"""OpenVINO without its telemetry.

Importing openvino reports the import over the network, from a process that it forks, if the package
openvino-telemetry is there, which it requires. If that cannot be imported, it uses a stub that does
nothing.
"""

import sys

if "openvino" not in sys.modules:
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # an import of it fails

import openvino

__all__ = ["openvino"]
