""":class:`ThrowAwayCA`: certificates for a test, made by the ``openssl`` command line."""

from __future__ import annotations

import ipaddress
import shutil
import subprocess
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from bgresults.testing.processes import OwnedFolder

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Certificate", "ThrowAwayCA"]

_CONFIG = """\
[req]
distinguished_name = nothing
prompt = no
[nothing]
[ca]
default_ca = throw_away
[throw_away]
new_certs_dir = .
database = index.txt
serial = serial
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
"""
_EXTENSIONS = """\
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
extendedKeyUsage = {usage}
"""


@dataclass(frozen=True)
class Certificate:
    """Three PEM files.

    Attributes:
        certificate: what is shown to the other side.
        key: the private key of it, not encrypted.
        ca: the certificate of the CA that signed it.
    """

    certificate: Path
    key: Path
    ca: Path


class ThrowAwayCA:
    """A certificate authority that nobody should trust, in a temporary folder that is gone after :meth:`close`.

    Args:
        name: of the authority.

    Raises:
        RuntimeError: there is no ``openssl`` on PATH.
    """

    def __init__(self, name: str = "bgresults throw-away CA") -> None:
        if not self.available():
            raise RuntimeError("no openssl command: install it (apt-get install openssl)")
        self._owned_folder = OwnedFolder("bgresults-ca-")
        self._folder = self._owned_folder.path
        self._made = 0
        #: The CA's own certificate, to be given as ``ssl_ca_certs``.
        self.path = self._folder / "ca.pem"
        (self._folder / "openssl.cnf").write_text(_CONFIG)
        (self._folder / "index.txt").touch()
        (self._folder / "serial").write_text("01\n")
        self._make_key("ca.key")
        self._openssl(
            *("req", "-x509", "-new", "-config", "openssl.cnf", "-extensions", "authority", "-days", "30"),
            *("-subj", f"/CN={name}", "-key", "ca.key", "-out", "ca.pem"),
        )

    @staticmethod
    def available() -> bool:
        """Whether there is an ``openssl`` to make certificates with."""
        return shutil.which("openssl") is not None

    def server(self, *hosts: str) -> Certificate:
        """A certificate for a server of these host names and IP addresses, valid now."""
        return self._issue("server", hosts, valid=True)

    def expired(self, *hosts: str) -> Certificate:
        """A certificate for a server of these hosts, which ended yesterday."""
        return self._issue("server", hosts, valid=False)

    def client(self, name: str = "client") -> Certificate:
        """A certificate for a client, valid now."""
        return self._issue("client", (name,), valid=True)

    def close(self) -> None:
        """Remove everything. Idempotent."""
        self._owned_folder.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _issue(self, kind: str, names: tuple[str, ...], *, valid: bool) -> Certificate:
        if not names:
            raise ValueError("a certificate is for at least one host")
        self._made += 1
        stem = f"{kind}-{self._made}"
        extensions = _EXTENSIONS.format(usage=f"{kind}Auth")
        if kind == "server":
            extensions += f"subjectAltName = {', '.join(map(_alternative_name, names))}\n"
        (self._folder / f"{stem}.ext").write_text(extensions)
        self._make_key(f"{stem}.key")
        self._openssl(
            *("req", "-new", "-config", "openssl.cnf", "-subj", f"/CN={names[0]}"),
            *("-key", f"{stem}.key", "-out", f"{stem}.csr"),
        )
        # `openssl ca` is the one command that takes dates in every version.
        now = datetime.now(timezone.utc)
        end = now + timedelta(days=30) if valid else now - timedelta(days=1)
        self._openssl(
            *("ca", "-batch", "-notext", "-config", "openssl.cnf", "-extfile", f"{stem}.ext"),
            *("-cert", "ca.pem", "-keyfile", "ca.key", "-in", f"{stem}.csr", "-out", f"{stem}.pem"),
            *("-startdate", _asn1(now - timedelta(days=2)), "-enddate", _asn1(end)),
        )
        return Certificate(self._folder / f"{stem}.pem", self._folder / f"{stem}.key", self.path)

    def _make_key(self, name: str) -> None:
        # Elliptic: made in an instant.
        self._openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", name)

    def _openssl(self, *words: str) -> None:
        done = subprocess.run(["openssl", *words], cwd=self._folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"openssl {words[0]} failed: {done.stderr}")


def _alternative_name(host: str) -> str:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return f"DNS:{host}"
    return f"IP:{host}"


def _asn1(moment: datetime) -> str:
    return moment.strftime("%Y%m%d%H%M%SZ")
