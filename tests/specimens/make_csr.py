#!/usr/bin/env python3
"""Writes the certificate requests in csr/, each named for what is special about it.

  csr/good/     accepted
  csr/smuggle/  accepted, but nothing of what they ask for may be in the certificate
  csr/refused/  refused with bad_csr

Needs the PyPI package `cryptography`. Keys come from fixed numbers and signatures are deterministic, so a
second run writes the same bytes. Everything is put together from DER by hand, because a library that makes
only well-formed requests is of little use here.
"""

import base64
import hashlib
import random
import shutil
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa

HERE = Path(__file__).parent / "csr"

# DER


def length(n):
    if n < 0x80:
        return bytes([n])
    octets = n.to_bytes((n.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(octets)]) + octets


def tlv(tag, content=b""):
    return bytes([tag]) + length(len(content)) + content


def seq(*parts):
    return tlv(0x30, b"".join(parts))


def set_(*parts):
    return tlv(0x31, b"".join(parts))


def integer(n):
    return tlv(0x02, n.to_bytes(n.bit_length() // 8 + 1, "big", signed=True))


def bits(content, unused=0):
    return tlv(0x03, bytes([unused]) + content)


def octets(content):
    return tlv(0x04, content)


def utf8(text):
    return tlv(0x0C, text.encode())


def oid(dotted):
    first, second, *rest = map(int, dotted.split("."))
    content = b""
    for arc in [first * 40 + second, *rest]:
        group = [arc & 0x7F]
        while arc := arc >> 7:
            group.insert(0, arc & 0x7F | 0x80)
        content += bytes(group)
    return tlv(0x06, content)


NULL = b"\x05\x00"

# Names, keys, algorithms

CN, O, OU = "2.5.4.3", "2.5.4.10", "2.5.4.11"
EC_PUBLIC_KEY = oid("1.2.840.10045.2.1")
P256, P384, P521 = oid("1.2.840.10045.3.1.7"), oid("1.3.132.0.34"), oid("1.3.132.0.35")
SECP256K1, BRAINPOOL256 = oid("1.3.132.0.10"), oid("1.3.36.3.3.2.8.1.1.7")
ECDSA = {
    "sha1": seq(oid("1.2.840.10045.4.1")),
    "sha256": seq(oid("1.2.840.10045.4.3.2")),
    "sha384": seq(oid("1.2.840.10045.4.3.3")),
    "sha512": seq(oid("1.2.840.10045.4.3.4")),
}
HASHES = {"sha1": hashes.SHA1(), "sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
ORDER256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def name(*attributes):
    return seq(*(set_(seq(oid(kind), utf8(value))) for kind, value in attributes))


SUBJECT = name((CN, "web-1"), (O, "specimens"))


def ec_key(curve, label):
    size = curve.key_size
    number = int.from_bytes(hashlib.shake_256(label.encode()).digest(size // 8 - 1), "big")
    return ec.derive_private_key(number, curve)


def point(key, compressed=False):
    format_ = serialization.PublicFormat
    kind = format_.CompressedPoint if compressed else format_.UncompressedPoint
    return key.public_key().public_bytes(serialization.Encoding.X962, kind)


def ec_spki(key, curve, compressed=False):
    return seq(seq(EC_PUBLIC_KEY, curve), bits(point(key, compressed)))


def spki_of(key):
    encoding, format_ = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(encoding, format_)


def sign_ec(key, message, digest="sha256"):
    return key.sign(message, ec.ECDSA(HASHES[digest], deterministic_signing=True))


def is_prime(n, rng):
    if any(n % p == 0 for p in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)):
        return False
    d, s = n - 1, 0
    while d % 2 == 0:
        d, s = d // 2, s + 1
    for _ in range(24):
        x = pow(rng.randrange(2, n - 1), d, n)
        if x in (1, n - 1):
            continue
        for _ in range(s - 1):
            x = x * x % n
            if x == n - 1:
                break
        else:
            return False
    return True


def next_prime(n, rng, e=1):
    n |= 1
    while not is_prime(n, rng) or (n - 1) % e == 0 and e > 1:
        n += 2
    return n


def rsa_numbers(size, label, close=False, e=65537):
    rng = random.Random(label)
    top = 3 << (size // 2 - 2)
    p = next_prime(rng.getrandbits(size // 2 - 2) | top, rng, e)
    q = next_prime(p + 2 if close else rng.getrandbits(size // 2 - 2) | top, rng, e)
    return p, q


def rsa_csr(size, label, digest="sha256", e=65537, close=False, pss=False):
    """Textbook PKCS#1 1.5 (or PSS without salt), since libraries refuse to make the weakest of these."""
    p, q = rsa_numbers(size, label, close, e if e % 2 and e > 1 else 1)
    n = p * q
    spki = seq(seq(oid("1.2.840.113549.1.1.1"), NULL), bits(seq(integer(n), integer(e))))
    body = info(spki)
    if pss:
        d = pow(e, -1, (p - 1) * (q - 1))
        numbers = rsa.RSAPrivateNumbers(
            p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), rsa.RSAPublicNumbers(e, n)
        )
        sha256 = seq(oid("2.16.840.1.101.3.4.2.1"))
        mgf = seq(oid("1.2.840.113549.1.1.8"), sha256)
        algorithm = seq(
            oid("1.2.840.113549.1.1.10"), seq(tlv(0xA0, sha256), tlv(0xA1, mgf), tlv(0xA2, integer(0)))
        )
        pad = padding.PSS(padding.MGF1(hashes.SHA256()), 0)
        return request(body, algorithm, numbers.private_key().sign(body, pad, hashes.SHA256()))
    kinds = {
        "md5": ("1.2.840.113549.1.1.4", "1.2.840.113549.2.5"),
        "sha1": ("1.2.840.113549.1.1.5", "1.3.14.3.2.26"),
        "sha256": ("1.2.840.113549.1.1.11", "2.16.840.1.101.3.4.2.1"),
    }
    algorithm, digest_oid = kinds[digest]
    hashed = seq(seq(oid(digest_oid), NULL), octets(hashlib.new(digest, body).digest()))
    padded = b"\x00\x01" + b"\xff" * max(0, size // 8 - 3 - len(hashed)) + b"\x00" + hashed
    try:
        d = pow(e, -1, (p - 1) * (q - 1))
    except ValueError:
        d = 3
    signature = pow(int.from_bytes(padded, "big"), d, n).to_bytes((n.bit_length() + 7) // 8, "big")
    return request(body, seq(oid(algorithm), NULL), signature)


# Requests


def extensions(*items):
    """The attribute extensionRequest; each item is (OID, critical, value)."""
    coded = [
        seq(oid(kind), *([b"\x01\x01\xff"] if critical else []), octets(value))
        for kind, critical, value in items
    ]
    return seq(oid("1.2.840.113549.1.9.14"), set_(seq(*coded)))


def info(spki, subject=SUBJECT, attributes=(), version=None, tail=b""):
    version = integer(0) if version is None else version
    return seq(version, subject, spki, tlv(0xA0, b"".join(attributes)), tail)


def request(body, algorithm, signature, unused=0):
    return seq(body, algorithm, bits(signature, unused))


KEY = ec_key(ec.SECP256R1(), "p256")
KEY384 = ec_key(ec.SECP384R1(), "p384")
SPKI = ec_spki(KEY, P256)


def signed(body, digest="sha256", key=KEY):
    return request(body, ECDSA[digest], sign_ec(key, body, digest))


def p256(label, **what):
    """A request with a key of its own, so that specimens can be enrolled one after the other."""
    key = ec_key(ec.SECP256R1(), label)
    return signed(info(ec_spki(key, P256), **what), key=key)


def pem(der, label="CERTIFICATE REQUEST", end=None, newline="\n", width=64):
    text = base64.b64encode(der).decode()
    lines = [text[i : i + width] for i in range(0, len(text), width)]
    end = label if end is None else end
    return newline.join([f"-----BEGIN {label}-----", *lines, f"-----END {end}-----", ""])


def write(folder, specimen, content):
    if isinstance(content, bytes) and content[:1] == b"\x30" and "as_der" not in specimen:
        content = pem(content)
    if isinstance(content, str):
        content = content.encode()
    (HERE / folder).mkdir(parents=True, exist_ok=True)
    (HERE / folder / f"{specimen}.pem").write_bytes(content)


def good():
    keep = lambda specimen, content: write("good", specimen, content)
    keep("p256_sha256", p256("good p256"))
    key = ec_key(ec.SECP256R1(), "p256 sha384")
    keep("p256_sha384", signed(info(ec_spki(key, P256)), "sha384", key))
    for digest in ("sha256", "sha384"):
        key = ec_key(ec.SECP384R1(), f"p384 {digest}")
        keep(f"p384_{digest}", signed(info(ec_spki(key, P384)), digest, key))
    keep("subject_empty", p256("empty subject", subject=seq()))
    keep("crlf_lines", pem(p256("crlf"), newline="\r\n"))
    keep("no_final_newline", pem(p256("no newline")).rstrip("\n"))
    keep("white_space_around", "\n \t\r\n" + pem(p256("white space")) + "\n\n  \n")
    keep("one_long_line", pem(p256("long line"), width=100_000))
    keep("label_new_certificate_request", pem(p256("new label"), "NEW CERTIFICATE REQUEST"))
    padding_ = 16 * 1024 * 3 // 4 - 700
    keep("just_under_16_kib", p256("large", subject=name((CN, "x" * padding_))))


def general_names(*names):
    return seq(*names)


def dns(text):
    return tlv(0x82, text.encode())


def email(text):
    return tlv(0x81, text.encode())


def uri(text):
    return tlv(0x86, text.encode())


def ip(*address):
    return tlv(0x87, bytes(address))


FOREIGN = "spiffe://muster/tenant/00000000-0000-7000-8000-000000000000/agent/admin"
SAN, BASIC, USAGE, EKU, NAME_CONSTRAINTS = "2.5.29.17", "2.5.29.19", "2.5.29.15", "2.5.29.37", "2.5.29.30"


def smuggle():
    def ask(specimen, *items):
        write("smuggle", specimen, p256(specimen, attributes=[extensions(*items)]))

    def call(specimen, *attributes):
        write("smuggle", specimen, p256(specimen, subject=name(*attributes)))

    san = lambda *names: (SAN, False, general_names(*names))
    ask("ca_true", (BASIC, True, seq(b"\x01\x01\xff")))
    ask("ca_true_with_path_length", (BASIC, True, seq(b"\x01\x01\xff", integer(3))))
    ask("key_usage_cert_sign", (USAGE, True, bits(b"\x06", 1)))
    ask("key_usage_all", (USAGE, True, bits(b"\xff\x80", 7)))
    ask("eku_any", (EKU, False, seq(oid("2.5.29.37.0"))))
    ask("eku_server_and_code_signing", (EKU, False, seq(oid("1.3.6.1.5.5.7.3.1"), oid("1.3.6.1.5.5.7.3.3"))))
    ask("eku_empty", (EKU, False, seq()))
    ask("san_foreign_spiffe_id", san(uri(FOREIGN)))
    ask("san_trust_domain_itself", san(uri("spiffe://muster")))
    ask("san_two_uris", san(uri(FOREIGN), uri(FOREIGN + "-2")))
    ask("san_dns_ip_email", san(dns("control.example"), ip(127, 0, 0, 1), email("root@control.example")))
    ask("san_wildcard_and_localhost", san(dns("*"), dns("localhost"), dns("*.example")))
    ask("san_nul_in_dns", san(dns("control.example\0.evil.example")))
    ask("san_malformed_ip", san(ip(127, 0, 0)))
    upn = tlv(0xA0, oid("1.3.6.1.4.1.311.20.2.3") + tlv(0xA0, utf8("administrator@example")))
    ask("san_other_name_upn", san(upn))
    ask("san_critical", (SAN, True, general_names(uri(FOREIGN))))
    ask("san_empty", san())
    ask("san_twice", san(uri(FOREIGN)), san(dns("control.example")))
    ask("template_sub_ca", ("1.3.6.1.4.1.311.20.2", False, tlv(0x1E, "SubCA".encode("utf-16-be"))))
    ask("name_constraints", (NAME_CONSTRAINTS, True, seq(tlv(0xA0, seq(dns(""))))))
    ask("unknown_extension", ("1.3.6.1.4.1.55555.1.2.3", False, octets(b"anything")))
    ask("unknown_critical_extension", ("1.3.6.1.4.1.55555.1.2.4", True, octets(b"anything")))
    ask("extension_value_is_not_der", (SAN, False, b"\xff\xff\xff\xff"))
    ask("subject_key_identifier", ("2.5.29.14", False, octets(b"\x00" * 20)))
    ask("authority_key_identifier", ("2.5.29.35", False, seq(tlv(0x80, b"\x01" * 20))))
    ask("authority_information_access", ("1.3.6.1.5.5.7.1.1", False,
        seq(seq(oid("1.3.6.1.5.5.7.48.1"), uri("http://169.254.169.254/latest/meta-data")))))
    ask("no_extensions_in_the_list")
    many = [(f"1.3.6.1.4.1.55555.9.{i}", False, NULL) for i in range(300)]
    ask("three_hundred_extensions", *many)
    challenge = seq(oid("1.2.840.113549.1.9.7"), set_(utf8("not-a-password")))
    write("smuggle", "challenge_password", p256("challenge", attributes=[challenge]))
    high_tag = seq(oid("1.3.6.1.4.1.55555.7"), set_(b"\x9f\x81\x00\x01x"))
    write("smuggle", "attribute_value_with_high_tag", p256("high tag", attributes=[high_tag]))
    both = extensions((BASIC, True, seq(b"\x01\x01\xff")))
    write("smuggle", "extension_request_twice", p256("twice", attributes=[both, both]))

    call("subject_system_masters", (CN, "admin"), (O, "system:masters"))
    call("subject_of_the_intermediate", (O, "muster"), (CN, "Muster agent root CA"))
    call("subject_spiffe_id", (CN, FOREIGN))
    call("subject_log_injection", (CN, 'web-1\n{"level":"INFO","message":"all is well"}\r\n\x1b[2J'))
    call("subject_html", (CN, "<script>alert(1)</script>"), (O, "\"><img src=x onerror=alert(1)>"))
    call("subject_csv_formula", (CN, '=HYPERLINK("http://x.example","click")'), (O, "+1+1"))
    call("subject_bidi", (CN, "web-1\u202egnp.exe\u2066"))
    call("subject_nul", (CN, "web-1\0.example"))
    call("subject_many_names", *[(OU, f"unit {i}") for i in range(200)])
    call("subject_two_common_names", (CN, "web-1"), (CN, "admin"))
    call("subject_long_common_name", (CN, "x" * 5000))
    several = seq(set_(seq(oid(CN), utf8("a")), seq(oid(O), utf8("b"))))
    write("smuggle", "subject_multi_valued_rdn", p256("multi", subject=several))
    bmp, t61 = tlv(0x1E, "web".encode("utf-16-be")), tlv(0x14, b"caf\xe9")
    exotic = seq(set_(seq(oid(CN), bmp)), set_(seq(oid("1.2.3.4"), t61)))
    write("smuggle", "subject_odd_types", p256("odd types", subject=exotic))


def refused():
    keep = lambda specimen, content: write("refused", specimen, content)

    # Keys and algorithms
    for size in (512, 1024, 2048):
        keep(f"policy_rsa_{size}", rsa_csr(size, f"rsa {size}"))
    keep("policy_rsa_2048_pss", rsa_csr(2048, "pss", pss=True))
    keep("weak_rsa_e_1", rsa_csr(2048, "e1", e=1))
    keep("weak_rsa_e_even", rsa_csr(2048, "even", e=65536))
    keep("weak_rsa_close_primes", rsa_csr(2048, "close", close=True))
    keep("weak_rsa_sha1", rsa_csr(2048, "sha1", digest="sha1"))
    keep("weak_rsa_md5", rsa_csr(2048, "md5", digest="md5"))
    for kind, library, identifier, size in (
        ("ed25519", ed25519.Ed25519PrivateKey, "1.3.101.112", 32),
        ("ed448", ed448.Ed448PrivateKey, "1.3.101.113", 57),
    ):
        key = library.from_private_bytes(hashlib.shake_256(kind.encode()).digest(size))
        body = info(spki_of(key))
        keep(f"policy_{kind}", request(body, seq(oid(identifier)), key.sign(body)))
    for kind, curve, identifier, digest in (
        ("p521", ec.SECP521R1(), P521, "sha512"),
        ("p521_sha256", ec.SECP521R1(), P521, "sha256"),
        ("secp256k1", ec.SECP256K1(), SECP256K1, "sha256"),
        ("brainpool_p256r1", ec.BrainpoolP256R1(), BRAINPOOL256, "sha256"),
    ):
        key = ec_key(curve, kind)
        keep(f"policy_{kind}", signed(info(ec_spki(key, identifier)), digest, key))
    x25519 = seq(seq(oid("1.3.101.110")), bits(b"\x09" + b"\x00" * 31))
    keep("policy_x25519", signed(info(x25519)))
    keep("policy_dsa_1024", dsa_csr())
    keep("policy_p256_sha512", signed(info(SPKI), "sha512"))
    keep("weak_p256_sha1", signed(info(SPKI), "sha1"))
    keep("policy_curve_named_p384_for_a_p256_point", signed(info(ec_spki(KEY, P384))))
    keep("policy_ecdh_only_key", signed(info(seq(seq(oid("1.3.132.1.12"), P256), bits(point(KEY))))))

    # Points
    with_point = lambda key_bits: signed(info(seq(seq(EC_PUBLIC_KEY, P256), key_bits)))
    at = point(KEY)
    keep("point_off_curve", with_point(bits(at[:-1] + bytes([at[-1] ^ 1]))))
    keep("point_at_infinity", with_point(bits(b"\x00")))
    keep("point_all_zero", with_point(bits(b"\x04" + b"\x00" * 64)))
    keep("point_coordinates_not_reduced", with_point(bits(b"\x04" + b"\xff" * 64)))
    keep("point_compressed", signed(info(ec_spki(KEY, P256, compressed=True))))
    keep("point_hybrid", with_point(bits(bytes([6 | at[-1] & 1]) + at[1:])))
    keep("point_short", with_point(bits(at[:-1])))
    keep("point_long", with_point(bits(at + b"\x00")))
    keep("point_empty", with_point(bits(b"")))
    keep("point_unused_bits", with_point(bits(at[:-1] + bytes([at[-1] & 0xFE]), 1)))
    prime = 2**256 - 2**224 + 2**192 + 2**96 - 1
    b_ = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
    field = seq(oid("1.2.840.10045.1.1"), integer(prime))
    curve = seq(octets((prime - 3).to_bytes(32, "big")), octets(b_.to_bytes(32, "big")))
    explicit = seq(integer(1), field, curve, octets(at), integer(ORDER256), integer(1))
    keep("curve_explicit_parameters", signed(info(seq(seq(EC_PUBLIC_KEY, explicit), bits(at)))))
    keep("curve_missing", signed(info(seq(seq(EC_PUBLIC_KEY), bits(at)))))
    keep("curve_null", signed(info(seq(seq(EC_PUBLIC_KEY, NULL), bits(at)))))
    keep("curve_with_extra_field", signed(info(seq(seq(EC_PUBLIC_KEY, P256, NULL), bits(at)))))

    # Signatures
    body = info(SPKI)
    signature = sign_ec(KEY, body)
    sha256 = ECDSA["sha256"]
    keep("badsig_other_key", signed(body, key=ec_key(ec.SECP256R1(), "other")))
    flipped = bytearray(signature)
    flipped[-1] ^= 1
    keep("badsig_bit_flip", request(body, sha256, bytes(flipped)))
    keep("badsig_r_and_s_zero", request(body, sha256, seq(integer(0), integer(0))))
    keep("badsig_r_and_s_one", request(body, sha256, seq(integer(1), integer(1))))
    keep("badsig_r_is_the_order", request(body, sha256, seq(integer(ORDER256), integer(1))))
    keep("badsig_negative", request(body, sha256, seq(integer(-1), integer(-1))))
    keep("badsig_empty", request(body, sha256, b""))
    keep("badsig_raw_not_der", request(body, sha256, raw(signature)))
    keep("badsig_ber_length", request(body, sha256, b"\x30\x81" + signature[1:]))
    keep("badsig_padded_integer", request(body, sha256, padded_integer(signature)))
    keep("badsig_trailing_bytes", request(body, sha256, signature + b"\x00"))
    keep("badsig_unused_bits", request(body, sha256, signature[:-1] + bytes([signature[-1] & 0xFE]), 1))
    keep("badsig_over_other_request", request(info(SPKI, subject=seq()), sha256, signature))
    keep("badsig_hash_mismatch", request(body, ECDSA["sha384"], signature))
    keep("badsig_algorithm_rsa", request(body, seq(oid("1.2.840.113549.1.1.11"), NULL), signature))
    keep("badsig_algorithm_with_null", request(body, seq(oid("1.2.840.10045.4.3.2"), NULL), signature))
    keep("badsig_algorithm_unknown", request(body, seq(oid("1.3.6.1.4.1.55555.5")), signature))
    keep("badsig_algorithm_empty", request(body, seq(), signature))

    # Structure
    der = signed(body)
    keep("structure_trailing_byte", der + b"\x00")
    keep("structure_trailing_request", der + der)
    for cut in (1, 2, 20, len(der) // 2, len(der) - 1):
        keep(f"structure_truncated_to_{cut:03}", pem(der[:cut]))
    content = body + ECDSA["sha256"] + bits(signature)
    keep("structure_indefinite_length", b"\x30\x80" + content + b"\x00\x00")
    keep("structure_non_minimal_length", b"\x30\x83" + len(content).to_bytes(3, "big") + content)
    keep("structure_length_4_gib", b"\x30\x84\xff\xff\xff\xff" + content)
    keep("structure_length_of_length_127", b"\x30\xff" + content)
    keep("structure_length_one_too_long", b"\x30" + length(len(content) + 1) + content)
    inner = lambda coded: b"".join((integer(0), SUBJECT, SPKI, coded))
    loose = seq(inner(b"\xa0\x80\x00\x00"))
    keep("structure_indefinite_length_inside", signed(loose))
    loose = seq(integer(0), b"\x30\x81" + SUBJECT[1:], SPKI, b"\xa0\x00")
    keep("structure_non_minimal_length_inside", signed(loose))
    for kind, version in (
        ("1", integer(1)),
        ("2", integer(2)),
        ("minus_1", integer(-1)),
        ("huge", tlv(0x02, b"\x01" + b"\x00" * 4095)),
        ("padded_zero", b"\x02\x02\x00\x00"),
        ("empty", b"\x02\x00"),
        ("missing", b""),
        ("boolean", b"\x01\x01\x00"),
    ):
        keep(f"structure_version_{kind}", signed(info(SPKI, version=version)))
    keep("structure_no_attributes", signed(seq(inner(b""))))
    keep("structure_extra_field_in_info", signed(info(SPKI, tail=NULL)))
    keep("structure_extra_field", seq(content, NULL))
    keep("structure_no_signature", seq(body, sha256))
    keep("structure_signature_is_octets", seq(body, sha256, octets(signature)))
    keep("structure_set_instead_of_sequence", tlv(0x31, content))
    keep("structure_empty_sequence", seq())
    keep("structure_only_null", pem(NULL))
    keep("structure_subject_missing", signed(seq(integer(0), SPKI, b"\xa0\x00")))
    keep("structure_subject_is_text", signed(info(SPKI, subject=utf8("CN=web-1"))))
    keep("structure_subject_with_empty_set", signed(info(SPKI, subject=seq(set_()))))
    no_value = seq(set_(seq(oid(CN))))
    keep("structure_subject_without_value", signed(info(SPKI, subject=no_value)))
    no_values = seq(oid("1.2.840.113549.1.9.14"), set_())
    keep("structure_attribute_without_value", signed(info(SPKI, attributes=[no_values])))
    keep("structure_attribute_is_null", signed(info(SPKI, attributes=[NULL])))
    bad_boolean = seq(oid("1.2.3"), set_(b"\x01\x01\x01"))
    keep("structure_boolean_not_der", signed(info(SPKI, attributes=[bad_boolean])))
    bad_oid = seq(b"\x06\x02\x80\x01", set_(NULL))
    keep("structure_oid_padded", signed(info(SPKI, attributes=[bad_oid])))
    constructed = seq(set_(seq(oid(CN), tlv(0x2C, utf8("web")))))
    keep("structure_constructed_string", signed(info(SPKI, subject=constructed)))
    for depth in (1000, 3000):
        nested = b""
        for _ in range(depth):
            nested = seq(nested)
        keep(f"structure_nesting_{depth}_deep", nested)
        attribute = seq(oid("1.2.3"), set_(nested))
        if depth == 1000:
            keep("structure_nesting_1000_deep_signed", signed(info(SPKI, attributes=[attribute])))
    keep("structure_nesting_6000_deep_indefinite", b"\x30\x80" * 6000)
    keep("structure_nesting_20000_deep", b"\x30\x80" * 20_000)
    certificate_like = seq(tlv(0xA0, integer(2)), integer(1), sha256, SUBJECT, SUBJECT, SPKI)
    keep("structure_certificate_not_request", signed(certificate_like))

    # Armor
    text = pem(der)
    keep("armor_as_der_instead_of_pem", der)
    keep("armor_two_blocks", text + text)
    keep("armor_label_certificate", pem(der, "CERTIFICATE"))
    keep("armor_label_unknown", pem(der, "X509 REQUEST"))
    keep("armor_label_lower_case", pem(der, "certificate request"))
    keep("armor_label_mismatch", pem(der, end="CERTIFICATE"))
    keep("armor_label_new_mismatch", pem(der, end="NEW CERTIFICATE REQUEST"))
    encoding, format_ = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    private = ec_key(ec.SECP256R1(), "leaked").private_bytes(encoding, format_, serialization.NoEncryption())
    keep("armor_private_key_not_request", private.decode())
    keep("armor_request_plus_private_key", text + private.decode())
    keep("armor_private_key_then_request", private.decode() + text)
    keep("armor_text_before", "Certificate Request:\n    Data:\n" + text)
    keep("armor_text_after", text + "done\n")
    keep("armor_headers", text.replace("-----\n", "-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: X,00\n\n", 1))
    keep("armor_no_end", text[: text.index("-----END")])
    keep("armor_no_begin", text[text.index("\n") + 1 :])
    keep("armor_only_begin", "-----BEGIN CERTIFICATE REQUEST-----")
    keep("armor_empty", "")
    keep("armor_empty_block", pem(b""))
    keep("armor_begin_bomb", "-----BEGIN CERTIFICATE REQUEST-----\n" * 400)
    keep("armor_begin_bomb_without_lines", "-----BEGIN " * 1400)
    keep("armor_dashes", "-" * 16_000)
    keep("armor_nul_inside", text[:200] + "\0" + text[200:])
    keep("armor_nul_after", text + "\0")
    keep("armor_utf16", text.encode("utf-16"))
    keep("armor_byte_order_mark", "\ufeff" + text)
    url_safe = text.replace("+", "-").replace("/", "_")
    assert url_safe != text
    keep("armor_url_safe_base64", url_safe)
    keep("armor_letter_missing", text[:90] + text[91:])
    keep("armor_not_canonical_base64", loose_bits(padded_pem()))
    keep("armor_padding_missing", padded_pem().replace("=", ""))
    keep("armor_padding_inside", text[:64] + "=" + text[64:])
    keep("armor_all_on_one_line", text.replace("\n", " "))
    keep("armor_html_entities", text.replace("\n", "&#10;"))
    keep("size_subject_20_kib", p256("20 kib", subject=name((CN, "x" * 20_000))))
    keep("size_just_over_16_kib", text.rstrip("\n") + "\n" * (16 * 1024 + 2 - len(text)))


def raw(signature):
    """r and s as two fixed numbers, as JOSE has it."""
    first = signature[3]
    r, rest = signature[4 : 4 + first], signature[4 + first :]
    numbers = int.from_bytes(r, "big"), int.from_bytes(rest[2:], "big")
    return b"".join(number.to_bytes(32, "big") for number in numbers)


def padded_integer(signature):
    first = signature[3]
    r, rest = signature[4 : 4 + first], signature[4 + first :]
    return seq(tlv(0x02, b"\x00" + r), rest)


def padded_pem():
    """A good request whose base64 ends in padding."""
    texts = (pem(p256("padded", subject=name((CN, "a" * size)))) for size in range(1, 9))
    return next(text for text in texts if "=" in text)


def loose_bits(text):
    """Base64 whose last letter has bits set that decode to nothing."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    at = text.index("=") - 1
    return text[:at] + alphabet[alphabet.index(text[at]) ^ 1] + text[at + 1 :]


def dsa_csr():
    """A DSA key of 1024 bits; the parameters are made here, the signature by textbook."""
    rng = random.Random("dsa")
    q = next_prime(rng.getrandbits(159) | 1 << 159, rng)
    while True:
        p = rng.getrandbits(1023) | 1 << 1023
        p -= p % (2 * q) - 1
        if is_prime(p, rng):
            break
    g = pow(2, (p - 1) // q, p)
    x, k = rng.randrange(1, q), rng.randrange(1, q)
    parameters = seq(integer(p), integer(q), integer(g))
    spki = seq(seq(oid("1.2.840.10040.4.1"), parameters), bits(integer(pow(g, x, p))))
    body = info(spki)
    r = pow(g, k, p) % q
    hashed = int.from_bytes(hashlib.sha256(body).digest()[:20], "big")
    s = pow(k, -1, q) * (hashed + x * r) % q
    return request(body, seq(oid("2.16.840.1.101.3.4.3.2")), seq(integer(r), integer(s)))


if __name__ == "__main__":
    shutil.rmtree(HERE, ignore_errors=True)
    good()
    smuggle()
    refused()
    for folder in ("good", "smuggle", "refused"):
        print(folder, len(list((HERE / folder).iterdir())))
