"""The server's certificate: made at the first start where none is given."""

from __future__ import annotations

import datetime
import ipaddress
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ...errors import InputError, first_line

DAYS = 3650  # a line runs for years, and no one must renew it on a holiday
KEY_BITS = 3072
EXTENSIONS = (".der", ".pem", ".crt", ".cer")


@dataclass(frozen=True)
class Identity:
    """Files of the server's certificate (DER or PEM) and its private key (PEM), and the URI in it."""

    certificate: Path
    key: Path
    application_uri: str


def own_identity(folder: Path, certificate: str, key: str, hosts: tuple[str, ...]) -> Identity:
    """The given one; else that of the folder, made now where there is none. InputError where it cannot be used.

    hosts: names and addresses under which clients reach the server.
    """
    if bool(certificate) != bool(key):
        raise InputError("certificate and private_key: give both, or neither")
    if certificate:
        return _checked(Path(certificate), Path(key))
    files = folder / "server.der", folder / "server_key.pem"
    if not all(file.is_file() for file in files):
        _make(*files, hosts)
    return _checked(*files)


def trusted_certificates(folder: str) -> frozenset[bytes] | None:
    """DER of the client certificates in a folder; None without a folder. InputError where there is none to be read."""
    if not folder:
        return None
    files = sorted(file for file in _listed(Path(folder)) if file.suffix.lower() in EXTENSIONS)
    if not files:
        raise InputError(f"{folder}: no client certificates in it ({', '.join(EXTENSIONS)}): nobody could connect")
    return frozenset(read_certificate(file).public_bytes(serialization.Encoding.DER) for file in files)


def read_certificate(path: Path) -> x509.Certificate:
    """DER or PEM. InputError where it is neither."""
    try:
        data = path.read_bytes()
        return x509.load_pem_x509_certificate(data) if b"-----BEGIN" in data else x509.load_der_x509_certificate(data)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable certificate ({first_line(error)})") from error


def write_private(path: Path, data: bytes) -> None:
    """A file that only its owner may read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    staging.replace(path)


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: not a readable folder ({first_line(error)})") from error


def _make(certificate: Path, key: Path, hosts: tuple[str, ...]) -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pad_ros OPC UA server")])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = [x509.UniformResourceIdentifier(f"urn:{socket.gethostname()}:pad_ros:opcua"), *map(_name, hosts)]
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # clocks of a plant differ
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
    )
    signed = builder.sign(private, hashes.SHA256())
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    try:
        write_private(key, private.private_bytes(serialization.Encoding.PEM, *form))
        write_private(certificate, signed.public_bytes(serialization.Encoding.DER))
    except OSError as error:
        raise InputError(f"{certificate.parent}: no certificate can be written there ({first_line(error)})") from error


def _usage() -> x509.KeyUsage:
    """As OPC 10000-6 asks of an application's certificate; key_cert_sign because it signs itself."""
    return x509.KeyUsage(
        digital_signature=True, content_commitment=True, key_encipherment=True, data_encipherment=True,
        key_agreement=False, key_cert_sign=True, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _checked(certificate: Path, key: Path) -> Identity:
    """InputError for files that do not belong together, an expired certificate, or one without an application URI."""
    found = read_certificate(certificate)
    try:
        private = serialization.load_pem_private_key(key.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{key}: not a readable private key in PEM ({first_line(error)})") from error
    if private.public_key() != found.public_key():
        raise InputError(f"{key}: not the private key of {certificate}")
    if found.not_valid_after_utc < datetime.datetime.now(datetime.timezone.utc):
        raise InputError(f"{certificate}: expired on {found.not_valid_after_utc:%Y-%m-%d}; remove it for a new one")
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (uri, *_) = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (x509.ExtensionNotFound, ValueError) as error:
        raise InputError(f"{certificate}: has no application URI (subjectAltName), which OPC UA asks for") from error
    return Identity(certificate, key, uri)
