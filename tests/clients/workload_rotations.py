"""The Workload API as the SPIFFE library for Python sees it, for as long as the program runs.

Usage: workload_rotations.py SOCKET

Prints "x509 ID SERIAL" for each X.509-SVID that verifies, and "jwt ID TOKEN" for each JWT-SVID that does. Keys and roots come
from the watches of the library's sources, which are opened once. The library verifies no chains of certificates: cryptography
does.
"""

import sys
import time

from cryptography.x509.verification import PolicyBuilder, Store
from spiffe import JwtSource, JwtSvid, WorkloadApiClient, X509Source

PATIENCE_SECONDS = 50


def refuses(call):
    """Whether a call fails."""
    try:
        call()
    except Exception:
        return True
    return False


def judge(agent, keys, svid):
    """Checks a token here and at the agent, which both must take it for its own audience and for no other."""
    bundle = keys.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
    JwtSvid.parse_and_validate(svid.token, bundle, {"api"})
    agent.validate_jwt_svid(svid.token, "db")
    if not refuses(lambda: JwtSvid.parse_and_validate(svid.token, bundle, {"mail"})):
        sys.exit("the library takes it for another audience")
    if not refuses(lambda: agent.validate_jwt_svid(svid.token, "mail")):
        sys.exit("the agent takes it for another audience")


def main():
    endpoint = "unix://" + sys.argv[1]
    agent = WorkloadApiClient(endpoint)
    certificates = X509Source(socket_path=endpoint, timeout_in_seconds=PATIENCE_SECONDS)
    tokens = JwtSource(socket_path=endpoint, timeout_in_seconds=PATIENCE_SECONDS)
    serial, token = None, None
    while True:
        svid = certificates.svid
        if svid.leaf.serial_number != serial:
            bundle = certificates.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
            verifier = PolicyBuilder().store(Store(list(bundle.x509_authorities))).build_client_verifier()
            verified = verifier.verify(svid.leaf, svid.cert_chain[1:])
            serial = svid.leaf.serial_number
            print("x509", *(name.value for name in verified.subjects), f"{serial:x}", flush=True)
        # The server may be away, and its new key under way: what counts is that a token comes in the end.
        try:
            fetched = tokens.fetch_svid({"db", "api"}, timeout=PATIENCE_SECONDS)
            if fetched.token != token:
                judge(agent, tokens, fetched)
                token = fetched.token
                print("jwt", fetched.spiffe_id, token, flush=True)
        except Exception as not_yet:
            print(repr(not_yet), file=sys.stderr, flush=True)
        time.sleep(0.1)


main()
