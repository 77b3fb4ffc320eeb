"""Signs and verifies DSSE envelopes with securesystemslib, for tests/interop/main.rs.

usage: dsse.py verify THRESHOLD ENVELOPE PUBLIC-KEY...   exit 1 where securesystemslib refuses
       dsse.py sign ENVELOPE PRIVATE-KEY...              adds signatures in place

Keys are the PEM files that `sealboot key generate` writes; key ids are computed as sealboot does.
"""

import hashlib
import json
import sys

from cryptography.hazmat.primitives import serialization
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey


def key_of(public):
    raw = public.public_bytes(
        serialization.Encoding.Raw, serialization.PublicFormat.Raw
    )
    return SSlibKey(
        hashlib.sha256(raw).hexdigest()[:16], "ed25519", "ed25519", {"public": raw.hex()}
    )


def read(path):
    with open(path, "rb") as file:
        return file.read()


def verify(threshold, path, *keys):
    envelope = Envelope.from_dict(json.loads(read(path)))
    keys = [key_of(serialization.load_pem_public_key(read(key))) for key in keys]
    try:
        accepted = envelope.verify(keys, int(threshold))
    except VerificationError as error:
        sys.exit(f"refused: {error}")
    print(" ".join(sorted(accepted)))


def sign(path, *keys):
    envelope = Envelope.from_dict(json.loads(read(path)))
    for key in keys:
        private = serialization.load_pem_private_key(read(key), password=None)
        envelope.sign(CryptoSigner(private, key_of(private.public_key())))
    with open(path, "w", encoding="utf-8") as file:
        json.dump(envelope.to_dict(), file)


if __name__ == "__main__":
    {"verify": verify, "sign": sign}[sys.argv[1]](*sys.argv[2:])
