"""What pkilint, which judges certificates for CAs of the web, finds in a leaf, an intermediate and a root.

Usage: lint.py LEAF INTERMEDIATE ROOT

Prints every finding of a warning or worse as one JSON list of [file, place in the certificate, code].
"""

import contextlib
import io
import json
import sys
from pathlib import Path

from pkilint.bin import lint_pkix_cert, lint_pkix_signer_signee_cert_chain


def findings(linter, name, *files):
    """What one run of a linter reports."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        linter.main(["lint", *files, "-s", "WARNING", "-f", "JSON"])
    return [
        [name, result["node_path"], finding["code"]]
        for result in json.loads(printed.getvalue())["results"]
        for finding in result["finding_descriptions"]
    ]


leaf, intermediate, root = sys.argv[1:]
found = []
for file in (leaf, intermediate, root):
    found += findings(lint_pkix_cert, Path(file).stem, file)
for issuer, subject in ((root, intermediate), (intermediate, leaf), (root, root)):
    found += findings(lint_pkix_signer_signee_cert_chain, "chain", issuer, subject)
print(json.dumps(found))
