"""JWT-SVIDs as the SPIFFE library for Python and PyJWT see them.

Usage: jwt_svids.py SOCKET SERVER_URL SERVER_CA ISSUER

Fetches a token and the keys from the agent, has the agent check it, checks it with the library, and once more with what the
server serves to a program that knows no SPIFFE. Prints what happened as one JSON document.
"""

import json
import ssl
import sys
import urllib.request

import grpc
import jwt
from spiffe import JwtSvid, WorkloadApiClient

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


def main():
    socket, server, server_ca, issuer = sys.argv[1:]
    client = WorkloadApiClient("unix://" + socket)
    svid = client.fetch_jwt_svid(audience={"db", "api"}, timeout=PATIENCE_SECONDS)
    validated = client.validate_jwt_svid(svid.token, "db")
    bundles = client.fetch_jwt_bundles(timeout=PATIENCE_SECONDS)
    bundle = bundles.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
    checked = JwtSvid.parse_and_validate(svid.token, bundle, {"api"})
    # A program that knows no SPIFFE starts from the issuer. The server is not at that address here.
    tls = ssl.create_default_context(cafile=server_ca)
    found = json.load(urllib.request.urlopen(server + "/.well-known/openid-configuration", context=tls))
    keys = jwt.PyJWKClient(server + "/.well-known/jwks.json", ssl_context=tls)
    algorithms = found["id_token_signing_alg_values_supported"]
    key = keys.get_signing_key_from_jwt(svid.token)
    required = ["exp", "iat", "sub", "aud", "jti", "iss"]
    claims = jwt.decode(
        svid.token, key, algorithms, audience="db", issuer=found["issuer"], options={"require": required}
    )
    with grpc.insecure_channel("unix:" + socket) as channel:
        call = channel.unary_unary("/SpiffeWorkloadAPI/FetchJWTSVID")
        no_header = refusal(lambda: call(b"\x0a\x01x", timeout=PATIENCE_SECONDS))
    result = {
        "ids": sorted({str(svid.spiffe_id), str(validated.spiffe_id), str(checked.spiffe_id), claims["sub"]}),
        "audience": sorted(claims["aud"]),
        "lives": claims["exp"] - claims["iat"],
        "issuer": found["issuer"] == issuer == claims["iss"],
        "jwks_uri": found["jwks_uri"] == issuer + "/.well-known/jwks.json",
        "header": sorted(jwt.get_unverified_header(svid.token)),
        "same_again": client.fetch_jwt_svid(audience={"api", "db"}, timeout=PATIENCE_SECONDS).token == svid.token,
        "other_audience": refusal(lambda: client.validate_jwt_svid(svid.token, "mail")),
        "rubbish": refusal(lambda: client.validate_jwt_svid("x" * 10_240, "db")),
        "no_audience": refusal(lambda: client.fetch_jwt_svid(audience={""}, timeout=PATIENCE_SECONDS)),
        "no_header": no_header,
    }
    print(json.dumps(result))


main()
