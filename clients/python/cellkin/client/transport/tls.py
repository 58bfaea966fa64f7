"""TLS settings of a connection."""

from dataclasses import dataclass
from pathlib import Path

import grpc

from cellkin.wire.errors import InputFileError, InvalidArgumentError


@dataclass(frozen=True)
class Tls:
    """TLS settings of a connection.

    Parameters
    ----------
    ca
        PEM file of trusted certificate authorities; None for those of the system.
    cert, key
        PEM files of the client's own certificate and key, if the server requires them.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Return gRPC credentials from the files.

        Raises
        ------
        InputFileError
            If one cannot be read.
        InvalidArgumentError
            If a certificate is given without its key, or a key alone.
        """
        if (self.cert is None) != (self.key is None):
            raise InvalidArgumentError("a client's certificate goes with its key; give both")
        return grpc.ssl_channel_credentials(_read(self.ca), _read(self.key), _read(self.cert))


def _read(path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise InputFileError(f"TLS file {path} cannot be read: {error.strerror}") from error
