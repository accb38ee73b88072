"""Database URLs and the TLS they are used with: parsing without telling secrets, and what production insists on.

DATABASE_SSL takes libpq's own words (`disable`, `allow`, `prefer`, `require`, `verify-ca`, `verify-full`) and the
booleans that other tools use: true means `verify-full`, because an encrypted connection to an unknown server protects
nobody, and false means `disable`. A `sslmode` in the URL says the same; where both speak they must agree.

Anything less than `verify-full` leaves room for somebody in the middle (libpq documentation, 34.19.3), so production
refuses it. Who has a reason (a pooler on the same host, say) names the variable whose server is exempt in
DATABASE_SSL_ALLOW_INSECURE; a Unix socket needs no exemption, for it does not leave the machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

VERIFY_FULL = "verify-full"
MODES = ("disable", "allow", "prefer", "require", "verify-ca", VERIFY_FULL)
WORDS = {
    **{mode: mode for mode in MODES},
    **dict.fromkeys(("true", "on", "yes", "1"), VERIFY_FULL),
    **dict.fromkeys(("false", "off", "no", "0"), "disable"),
}
URL_VARIABLES = ("DATABASE_URL", "DATABASE_URL_TEST", "DATABASE_DIRECT_URL", "DATABASE_OWNER_URL")
EXAMPLE = "postgresql://user:password@host:port/database"
SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")
# What managed providers put into URLs for other drivers and libpq does not know; it changes nothing here.
FOREIGN = frozenset({"pgbouncer", "connection_limit"})

Parameters = dict[str, Any]
"""libpq's connection parameters, by keyword."""


@dataclass(frozen=True)
class TlsPolicy:
    """What the settings say about TLS.

    Attributes:
        mode: of DATABASE_SSL, in libpq's words; None where it is not set.
        root_certificate: a file of certificate authorities, or `system`; None where it is not set.
        verified: whether `verify-full` is what an unsaid mode means.
        enforced: whether less than `verify-full` is refused.
        exempt: the variables whose servers are not held to that.
    """

    mode: str | None = None
    root_certificate: str | None = None
    verified: bool = False
    enforced: bool = False
    exempt: frozenset[str] = frozenset()


def mode_of(value: str) -> str:
    """The libpq mode that a value of DATABASE_SSL means.

    Raises:
        ValueError: it means none.
    """
    mode = WORDS.get(value.strip().lower())
    if mode is None:
        raise ValueError(f"must be true, false or one of {', '.join(MODES)}")
    return mode


def parse(url: str) -> Parameters:
    """The connection parameters in a database URL.

    Raises:
        ValueError: it is none, or lacks a host or the name of a database. The message never repeats the URL: what
            libpq says of a password with an unescaped `/` contains a piece of that password.
    """
    scheme, separator, rest = url.strip().partition("://")
    if not separator or scheme not in SCHEMES:
        raise ValueError(f"must begin like {EXAMPLE}")
    try:
        found: Parameters = dict(conninfo_to_dict(_without_foreign(f"postgresql://{rest}")))
        # libpq looks at ports when it connects; by then a password with a `/` in it would show as one.
        [int(port) for port in str(found.get("port", 5432)).split(",")]
    except (psycopg.Error, ValueError):
        raise ValueError(
            "is no URL that libpq reads; write / @ : ? # and % in a password as %2F %40 %3A %3F %23 %25, "
            "and use libpq's parameters only"
        ) from None
    missing = [what for key, what in (("host", "host"), ("dbname", "database")) if not found.get(key)]
    if missing:
        raise ValueError(f"names no {' and no '.join(missing)}: {EXAMPLE}")
    return found


def secure(variable: str, url: str, policy: TlsPolicy) -> Parameters:
    """The connection parameters of a URL, with TLS as the policy has it.

    Raises:
        ValueError: the URL cannot be parsed, contradicts DATABASE_SSL, or is weaker than production allows.
    """
    found = parse(url)
    said = found.get("sslmode")
    if said and policy.mode and said != policy.mode:
        raise ValueError(f"says sslmode={said} and DATABASE_SSL says {policy.mode}; leave one of them out")
    mode = said or policy.mode or (VERIFY_FULL if policy.verified else "prefer")
    # A GSSAPI connection would take the place of TLS and of its checks.
    found |= {"sslmode": mode, "gssencmode": "disable"}
    root = found.get("sslrootcert") or policy.root_certificate
    if mode == VERIFY_FULL or root:
        found["sslrootcert"] = root or "system"
    if policy.enforced and mode != VERIFY_FULL and variable not in policy.exempt and not _is_socket(found):
        raise ValueError(
            f"would connect with sslmode={mode}, and production takes {VERIFY_FULL} only; set DATABASE_SSL=true, or, "
            f"where that server may go unverified, DATABASE_SSL_ALLOW_INSECURE={variable}"
        )
    return found


def _is_socket(parameters: Parameters) -> bool:
    hosts = str(parameters["host"]).split(",")
    return all(host.startswith(("/", "@")) for host in hosts) and not parameters.get("hostaddr")


def _without_foreign(url: str) -> str:
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    if not FOREIGN.intersection(key for key, _ in pairs):
        return url
    kept = [(key, value) for key, value in pairs if key not in FOREIGN]
    return urlunsplit(parts._replace(query=urlencode(kept, quote_via=quote)))
