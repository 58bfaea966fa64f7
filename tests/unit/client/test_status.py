"""The health of a server, of all services or of some."""

from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from tests.unit.client.test_rpc_errors import Failed

from cellkin.cli import status
from cellkin.client.transport import connection
from cellkin.client.transport.profile import Endpoint
from cellkin.wire.errors import InternalError


class _Channel:
    refuses = grpc.StatusCode.NOT_FOUND

    def __init__(self, *_: Any) -> None:
        self.channel = self

    def __enter__(self) -> "_Channel":
        return self

    def __exit__(self, *_: object) -> None: ...

    def unary_unary(self, method: str, **_: Any) -> Any:
        def ask(request: Any, timeout: float) -> Any:
            if "GeneService" in request.service:
                raise Failed(self.refuses, "no service")
            return health_pb2.HealthCheckResponse(status=1)

        return ask

    unary_stream = unary_unary


def test_a_service_that_the_server_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "Channel", _Channel)
    states = status._check(Endpoint()).states
    assert states.pop("cellkin.v1.GeneService") == "SERVICE_UNKNOWN"
    assert set(states.values()) == {"SERVING"}
    monkeypatch.setattr(_Channel, "refuses", grpc.StatusCode.DATA_LOSS)
    with pytest.raises(InternalError, match="DATA_LOSS"):
        status._check(Endpoint())
