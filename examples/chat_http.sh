#!/bin/sh
# Two calls over HTTP with curl; the second one remembers the first. `make run` serves HTTP on port 8080.
set -eu
url=${ILAB_CHAT_URL:-http://127.0.0.1:8080}

# A repeat with the same Idempotency-Key returns the stored answer and makes no second turn.
curl -sS --fail-with-body -X POST "$url/chat" -H 'Content-Type: application/json' -H 'Idempotency-Key: example-http-1' \
    -d '{"user_id":"example-http","message":"My name is Alice and I love hiking."}'
echo

# /v1/chat has every field of the contract: "memories" lists what the model saw of the first call.
curl -sS --fail-with-body -X POST "$url/v1/chat" -H 'Content-Type: application/json' \
    -d '{"user_id":"example-http","message":"What do I love?"}'
echo
