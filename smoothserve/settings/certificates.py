"""From the settings to what TLS is made of: files as they are found from a directory."""

import os

from smoothserve.net.certificates import CertificateFiles, TLSOptions, parse_sni
from smoothserve.settings.table import Settings


def tls_options(settings: Settings, directory: str = "") -> TLSOptions | None:
    """Return how TLS is spoken, None for not at all; relative paths count from `directory`."""
    if settings.certfile is None:
        return None

    def found(files: CertificateFiles) -> CertificateFiles:
        return CertificateFiles(
            os.path.join(directory, files.certfile),
            None if files.keyfile is None else os.path.join(directory, files.keyfile),
        )

    return TLSOptions(
        certificate=found(CertificateFiles(settings.certfile, settings.keyfile)),
        sni={name: found(files) for name, files in map(parse_sni, settings.sni)},
        keyfile_password=settings.keyfile_password,
        ca_certs=None if settings.ca_certs is None else os.path.join(directory, settings.ca_certs),
        cert_reqs=settings.cert_reqs,
        ciphers=settings.ciphers,
        min_version=settings.min_tls_version,
    )
