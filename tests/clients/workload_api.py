"""The Workload API as the SPIFFE library for Python sees it.

Usage: workload_api.py SOCKET GRPC_ADDR SERVER_CA

Fetches the SVID, waits for a rotation, and calls the server over mutual TLS with each of the two. Prints what
happened as one JSON document.
"""

import json
import sys
import threading

import grpc
from cryptography.hazmat.primitives import serialization
from spiffe import WorkloadApiClient, X509Source

PATIENCE_SECONDS = 50


def refusal(call):
    """The status code that a call is refused with."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code().name
    except Exception as error:  # The library wraps the status in errors of its own.
        cause = error.__cause__ or error.__context__
        return cause.code().name if isinstance(cause, grpc.RpcError) else str(error)
    return None


def serving(svid, address, server_ca):
    """Asks the server for its health, as the holder of the SVID."""
    pem = serialization.Encoding.PEM
    key = svid.private_key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain = b"".join(certificate.public_bytes(pem) for certificate in svid.cert_chain)
    credentials = grpc.ssl_channel_credentials(server_ca, key, chain)
    with grpc.secure_channel(address, credentials) as channel:
        answer = channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=PATIENCE_SECONDS)
    # HealthCheckResponse { status: SERVING }
    return answer == b"\x08\x01"


def main():
    socket, address, server_ca = sys.argv[1:]
    with open(server_ca, "rb") as file:
        server_ca = file.read()
    endpoint = "unix://" + socket
    rotated = threading.Event()
    with X509Source(socket_path=endpoint, timeout_in_seconds=PATIENCE_SECONDS) as source:
        first = source.get_x509_context().default_svid
        first_serves = serving(first, address, server_ca)
        source.subscribe_for_updates(rotated.set)
        second = first
        while second.leaf.serial_number == first.leaf.serial_number:
            if not rotated.wait(PATIENCE_SECONDS):
                sys.exit("no rotation came")
            rotated.clear()
            second = source.get_x509_context().default_svid
        bundle = source.get_bundle_for_trust_domain(second.spiffe_id.trust_domain)
        roots = len(bundle.x509_authorities)
    client = WorkloadApiClient(endpoint)
    bundles = len(client.fetch_x509_bundles(timeout=PATIENCE_SECONDS).bundles)
    with grpc.insecure_channel("unix:" + socket) as channel:
        call = channel.unary_stream("/SpiffeWorkloadAPI/FetchX509SVID")
        no_header = refusal(lambda: list(call(b"", timeout=PATIENCE_SECONDS)))
        wrong_header = refusal(
            lambda: list(call(b"", timeout=PATIENCE_SECONDS, metadata=[("workload.spiffe.io", "yes")]))
        )
    result = {
        "spiffe_id": str(first.spiffe_id),
        "same_id": first.spiffe_id == second.spiffe_id,
        "first_serves": first_serves,
        "second_serves": serving(second, address, server_ca),
        "roots": roots,
        "bundles": bundles,
        "no_header": no_header,
        "wrong_header": wrong_header,
    }
    print(json.dumps(result))


main()
