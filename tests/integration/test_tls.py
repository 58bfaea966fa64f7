"""TLS, client certificates, renewal without a restart, tokens and roles: with real certificates."""

import asyncio
import datetime as dt
import hashlib
import ipaddress
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from cellkin.client import AsyncClient, Client, Tls
from cellkin.client.transport.errors import error_from_rpc
from cellkin.server.http_pages import serve_pages
from cellkin.server.process import running
from cellkin.server.settings import ServerSettings
from cellkin.v1 import catalog_service_pb2 as wire
from cellkin.v1 import catalog_service_pb2_grpc
from cellkin.wire.errors import (
    InputFileError,
    InvalidArgumentError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnavailableError,
)

pytestmark = pytest.mark.integration
Run = Callable[..., subprocess.CompletedProcess[str]]


@dataclass(frozen=True)
class Authority:
    """A certificate authority of this test alone."""

    folder: Path
    name: str
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def new(cls, folder: Path, name: str) -> "Authority":
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _signed(name, key, name, key, ca=True)
        path = folder / f"{name}.pem"
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return cls(folder, name, key, certificate)

    @property
    def path(self) -> Path:
        return self.folder / f"{self.name}.pem"

    def issue(self, name: str, into: str) -> tuple[Path, Path]:
        """Write a certificate for 127.0.0.1 and its key; return their paths."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _signed(name, key, self.name, self.key, ca=False)
        cert_path, key_path = self.folder / f"{into}.crt", self.folder / f"{into}.key"
        cert_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return cert_path, key_path


def _signed(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    ca: bool,
) -> x509.Certificate:
    def named(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    return (
        x509.CertificateBuilder()
        .subject_name(named(subject))
        .issuer_name(named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        # RFC 5280 asks for these, by which Python 3.13 and newer verify strictly.
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_usage(ca), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )


def _usage(ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, key_cert_sign=ca, crl_sign=ca, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.new(tmp_path, "ours")


@contextmanager
def serving(store: Path, **settings: Any) -> Iterator[str]:
    given = {"listen": "127.0.0.1:0", "grace_s": 2.0, "refresh_s": 1.0} | settings
    with running(ServerSettings(store=str(store), **given)) as address:
        yield address


def asked(address: str, **given: Any) -> str:
    """Ask a question as both clients do; return the symbol found."""
    question: dict[str, Any] = {"taxon": 9606, "embedding": "random:64:7", "k": 1}

    async def awaited() -> str:
        async with AsyncClient(address, attempts=1, timeout_s=10, **given) as client:
            return (await client.search_genes("GENE5", **question)).gene.symbol

    with Client(address, attempts=1, timeout_s=10, **given) as client:
        symbol = client.search_genes("GENE5", **question).gene.symbol
    assert asyncio.run(awaited()) == symbol
    return symbol


def test_tls(store_path: Path, authority: Authority, tmp_path: Path) -> None:
    cert, key = authority.issue("server", "server")
    stranger = Authority.new(tmp_path, "stranger")
    with serving(store_path, tls_cert=cert, tls_key=key) as address:
        assert asked(address, tls=Tls(ca=authority.path)) == "GENE5"
        with pytest.raises(UnavailableError):
            asked(address, tls=Tls(ca=stranger.path))
        with pytest.raises(UnavailableError):
            asked(address)


def test_mutual_tls(store_path: Path, authority: Authority, tmp_path: Path) -> None:
    cert, key = authority.issue("server", "server")
    mine, stranger = authority.issue("ana", "ana"), Authority.new(tmp_path, "stranger")
    theirs = stranger.issue("mallory", "mallory")
    with serving(store_path, tls_cert=cert, tls_key=key, tls_client_ca=authority.path) as address:
        assert asked(address, tls=Tls(authority.path, *mine)) == "GENE5"
        with pytest.raises(UnavailableError):
            asked(address, tls=Tls(authority.path))
        with pytest.raises(UnavailableError):
            asked(address, tls=Tls(authority.path, *theirs))


def test_certificates_are_renewed_without_a_restart(
    store_path: Path, authority: Authority, tmp_path: Path
) -> None:
    cert, key = authority.issue("server", "server")
    newer = Authority.new(tmp_path, "newer")
    with (
        serving(store_path, tls_cert=cert, tls_key=key) as address,
        Client(address, tls=Tls(ca=authority.path)) as open_since_before,
    ):
        search = {"taxon": 9606, "embedding": "random:64:7", "k": 1}
        open_since_before.search_genes("GENE5", **search)
        # For a moment only one of the two files is the new one: the old pair stays.
        old_key = key.read_bytes()
        newer.issue("server", "server")
        new_key = key.read_bytes()
        key.write_bytes(old_key)
        assert asked(address, tls=Tls(ca=authority.path)) == "GENE5"
        key.write_bytes(new_key)
        assert asked(address, tls=Tls(ca=newer.path)) == "GENE5"
        with pytest.raises(UnavailableError):
            asked(address, tls=Tls(ca=authority.path))
        open_since_before.search_genes("GENE6", **search)


@pytest.mark.parametrize("mutual", [False, True])
def test_pages_beyond_this_machine_are_encrypted_as_the_server_is(
    authority: Authority, tmp_path: Path, mutual: bool
) -> None:
    cert, key = authority.issue("server", "server")
    mine, newer = authority.issue("ana", "ana"), Authority.new(tmp_path, "newer")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = ServerSettings(
        store="s", metrics=f"0.0.0.0:{port}", tls_cert=cert, tls_key=key,
        tls_client_ca=authority.path if mutual else None,
    )  # fmt: skip

    def ready(by: Authority, own: tuple[Path, Path] | None = mine) -> int:
        context = ssl.create_default_context(cafile=str(by.path))
        if own:
            context.load_cert_chain(*own)
        with urllib.request.urlopen(f"https://127.0.0.1:{port}/readyz", context=context) as page:
            return int(page.status)

    stop = serve_pages(settings, None, CollectorRegistry(), lambda: True)
    try:
        assert ready(authority) == 200
        with pytest.raises(OSError, match=r"reset|closed|disconnected"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10)
        if mutual:
            # TLS 1.3 asks after the handshake: its alert may come too late to be read.
            with pytest.raises(OSError, match=r"certificate required|EOF occurred|reset"):
                ready(authority, None)
        newer.issue("server", "server")
        assert ready(newer) == 200
    finally:
        stop()


def test_tokens_and_roles(store_path: Path, own_store: Path, tmp_path: Path) -> None:
    def line(name: str, roles: str) -> str:
        return f"{name} {roles} sha256:{hashlib.sha256(f'{name}-token'.encode()).hexdigest()}\n"

    tokens = tmp_path / "tokens"
    tokens.write_text(line("ana", "read") + line("ops", "admin"))
    request = wire.SetAliasRequest(kind=wire.VERSION_KIND_INDEX, version="trio", alias="stable")
    with capture_logs() as logs, serving(own_store, tokens=tokens) as address:
        assert asked(address, token="ana-token") == "GENE5"
        for token in (None, "wrong"):
            with pytest.raises(UnauthenticatedError):
                asked(address, token=token)
        with grpc.insecure_channel(address) as channel:
            catalog = catalog_service_pb2_grpc.CatalogServiceStub(channel)

            def set_alias(token: str) -> Any:
                return catalog.SetAlias(request, metadata=[("authorization", f"Bearer {token}")])

            with pytest.raises(grpc.RpcError) as caught:
                set_alias("ana-token")
            error = error_from_rpc(caught.value, "")
            assert isinstance(error, PermissionDeniedError)
            assert error.metadata == {"role": "admin", "principal": "ana"}
            assert set_alias("ops-token").name == "trio@stable"
            # Health needs no token: whoever restarts a server has none.
            health = health_pb2_grpc.HealthStub(channel)
            assert health.Check(health_pb2.HealthCheckRequest()).status == 1
        tokens.write_text(line("bo", "read"))
        assert asked(address, token="bo-token") == "GENE5"
        with pytest.raises(UnauthenticatedError):
            asked(address, token="ana-token")
    lines = [line for line in logs if line["event"] == "admin request"]
    assert [(line["client"], line["code"]) for line in lines] == [
        ("ana", "PERMISSION_DENIED"), ("ops", "OK"),
    ]  # fmt: skip
    assert lines[1]["version"] == "trio"
    assert lines[1]["alias"] == "stable"
    assert not any("-token" in str(line) for line in logs), "a token was logged"


def test_a_token_is_not_sent_where_it_could_be_read() -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"would be readable on its way to 10\.0\.0\.1:1"
    ):
        Client("10.0.0.1:1", token="secret")


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.org:0"])
def test_plaintext_is_refused_beyond_this_machine(
    store_path: Path, run_cellkin: Run, listen: str
) -> None:
    done = run_cellkin("serve", "--store", store_path, "--listen", listen)
    assert done.returncode == 2
    assert f"error: listen {listen} can be reached from other machines" in done.stderr
    assert "--plaintext" in done.stderr


def test_plaintext_beyond_this_machine_where_an_operator_wants_it(
    store_path: Path, run_cellkin: Run
) -> None:
    asked_for = ("--listen", "0.0.0.0:0", "--plaintext", "--print-config")
    done = run_cellkin("serve", "--store", store_path, *asked_for)
    assert done.returncode == 0
    assert '"plaintext": true' in done.stdout


def test_files_that_are_no_certificates(
    store_path: Path, authority: Authority, tmp_path: Path
) -> None:
    cert, key = authority.issue("server", "server")
    other_key = authority.issue("other", "other")[1]
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("nonsense")
    for pair in ((cert, other_key), (nonsense, key), (tmp_path / "none", key)):
        with (
            pytest.raises(InputFileError),
            serving(store_path, tls_cert=pair[0], tls_key=pair[1]),
        ):
            pass
    with pytest.raises(InputFileError):
        Client("127.0.0.1:1", tls=Tls(ca=tmp_path / "none"))


def test_a_certificate_without_its_key_is_refused(store_path: Path, run_cellkin: Run) -> None:
    done = run_cellkin("serve", "--store", store_path, "--tls-cert", "x.pem")
    assert done.returncode == 2
    assert "tls_cert and tls_key go together" in done.stderr


def test_the_command_takes_its_certificates_from_the_environment(
    store_path: Path, authority: Authority, run_cellkin: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    cert, key = authority.issue("server", "server")
    monkeypatch.setenv("CELLKIN_TLS_CA", str(authority.path))
    with serving(store_path, tls_cert=cert, tls_key=key) as address:
        search = ("search", "genes", "GENE5", "--taxon", "9606", "--embedding", "random:64:7")
        done = run_cellkin(*search, "--server", address)
    assert done.returncode == 0, done.stderr
    assert "Genes nearest to GENE5" in done.stdout
