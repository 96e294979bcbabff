"""A certificate authority for one test, and a server's certificate signed by it.

In: an empty folder, and `openssl` on PATH.
Out: `ca.pem`, for clients to trust, and `keystore.pem` (key and certificate), for a server at
localhost and 127.0.0.1. Valid for a day, or until yesterday if asked.
"""

import shutil
import subprocess
from pathlib import Path

CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
DAY = ("-days", "1")


def missing() -> str | None:
    """One line on what to install, or None when certificates can be made."""
    return None if shutil.which("openssl") else "no openssl on PATH: install it"


def issue(folder: Path, *, expired: bool = False) -> None:
    """Write both files, and what leads to them, into the folder."""
    ca = ("-keyout", "ca.key", "-out", "ca.pem")
    _openssl(folder, "req", "-x509", *CURVE, *DAY, "-subj", "/CN=tests", *ca)
    request = ("-keyout", "server.key", "-out", "server.csr")
    _openssl(folder, "req", *CURVE, "-subj", "/CN=localhost", *request)
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    signed_by = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial")
    what = ("-in", "server.csr", "-extfile", "names", "-out", "server.pem")
    days = ("-days", "-1") if expired else DAY
    _openssl(folder, "x509", "-req", *days, *signed_by, *what)
    key, certificate = ((folder / name).read_text() for name in ("server.key", "server.pem"))
    (folder / "keystore.pem").write_text(key + certificate)


def _openssl(folder: Path, *arguments: str) -> None:
    done = subprocess.run(
        ["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[0]} failed: {done.stderr.strip()}")
