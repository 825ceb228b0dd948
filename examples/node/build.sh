#!/bin/sh
# Write the stubs to DIRECTORY/stubs. First, with a protoc on the PATH:
#   npm install @grpc/grpc-js @protobuf-ts/grpc-transport @protobuf-ts/runtime @protobuf-ts/runtime-rpc
#   npm install --save-dev @protobuf-ts/plugin
set -eu
here=$(cd "$(dirname "$0")" && pwd)
modules=${NODE_PATH:-node_modules}
mkdir -p "$1/stubs"

"${PROTOC:-protoc}" -I "$here/../../protos" \
    --plugin=protoc-gen-ts="$modules/.bin/protoc-gen-ts" --ts_out="$1/stubs" \
    --ts_opt=output_javascript,output_legacy_commonjs,long_type_string,optimize_code_size \
    ilab_chat/v1/chat.proto google/rpc/status.proto google/rpc/error_details.proto
cp "$here/chat.js" "$1/"
