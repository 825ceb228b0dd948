#!/bin/sh
# Write the stubs to DIRECTORY. First: pip install grpclib googleapis-common-protos
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"

"${PROTOC:-protoc}" -I "$here/../../protos" --python_out="$1" --grpclib_python_out="$1" ilab_chat/v1/chat.proto
touch "$1/ilab_chat/__init__.py" "$1/ilab_chat/v1/__init__.py"
