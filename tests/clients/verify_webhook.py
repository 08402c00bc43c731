"""Verifies a webhook with the published library of Standard Webhooks: key, headers as JSON, body."""

import json
import sys

from standardwebhooks.webhooks import Webhook

key, headers, body = sys.argv[1:]
print(Webhook(key).verify(body, json.loads(headers))["type"])
