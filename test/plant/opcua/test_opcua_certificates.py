"""The server's certificate: made once, checked before it is used."""

import datetime
import stat

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from pad_ros.errors import InputError
from pad_ros.plant.opcua import certificates
from pad_ros.plant.opcua.certificates import own_identity, read_certificate, trusted_certificates

HOSTS = ("station.plant", "192.168.1.7")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("identity")
    own_identity(folder, "", "", HOSTS)
    return folder


def test_one_is_made_at_the_first_start_and_kept(folder):
    found = own_identity(folder, "", "", ())
    certificate = read_certificate(found.certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["station.plant"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["192.168.1.7"]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [found.application_uri]
    assert stat.S_IMODE(found.key.stat().st_mode) == 0o600
    before = found.certificate.read_bytes()
    own_identity(folder, "", "", ())
    assert found.certificate.read_bytes() == before


def test_a_given_one_is_used(folder, tmp_path):
    pem = tmp_path / "mine.pem"
    certificate = read_certificate(folder / "server.der")
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    found = own_identity(tmp_path / "elsewhere", str(pem), str(folder / "server_key.pem"), ())
    assert found.certificate == pem and not (tmp_path / "elsewhere").exists()


def test_what_cannot_be_used_is_refused(folder, tmp_path, monkeypatch):
    key, certificate = folder / "server_key.pem", folder / "server.der"
    with pytest.raises(InputError, match="give both, or neither"):
        own_identity(tmp_path, str(certificate), "", ())
    with pytest.raises(InputError, match="not a readable certificate"):
        own_identity(tmp_path, str(key), str(key), ())
    with pytest.raises(InputError, match="not a readable private key"):
        own_identity(tmp_path, str(certificate), str(certificate), ())
    other = own_identity(tmp_path / "other", "", "", ())
    with pytest.raises(InputError, match="not the private key of"):
        own_identity(tmp_path, str(certificate), str(other.key), ())
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="no certificate can be written there"):
        own_identity(tmp_path / "file", "", "", ())

    class Later(datetime.datetime):
        @classmethod
        def now(cls, zone=None):
            return super().now(zone) + datetime.timedelta(days=certificates.DAYS + 2)

    monkeypatch.setattr(certificates.datetime, "datetime", Later)
    with pytest.raises(InputError, match="expired on"):
        own_identity(folder, "", "", ())


def test_trusted_clients_are_those_of_the_folder(folder, tmp_path):
    assert trusted_certificates("") is None
    (tmp_path / "note.txt").write_text("not a certificate, and not named like one")
    with pytest.raises(InputError, match="no client certificates in it"):
        trusted_certificates(str(tmp_path))
    (tmp_path / "a.der").write_bytes((folder / "server.der").read_bytes())
    assert trusted_certificates(str(tmp_path)) == {(folder / "server.der").read_bytes()}
    (tmp_path / "b.pem").write_text("damaged")
    with pytest.raises(InputError, match="b.pem: not a readable certificate"):
        trusted_certificates(str(tmp_path))
    with pytest.raises(InputError, match="not a readable folder"):
        trusted_certificates(str(tmp_path / "missing"))
