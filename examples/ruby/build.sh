#!/bin/sh
# Write the stubs to DIRECTORY, for the gems grpc and googleapis-common-protos-types. On Debian:
#   apt-get install ruby-grpc ruby-googleapis-common-protos-types protobuf-compiler protobuf-compiler-grpc
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
"${PROTOC:-protoc}" -I "$here/../../protos" --ruby_out="$1" \
    --plugin=protoc-gen-grpc="$(command -v grpc_ruby_plugin)" --grpc_out="$1" ilab_chat/v1/chat.proto
