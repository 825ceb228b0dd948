#!/bin/sh
# Build DIRECTORY/chat. On Debian:
#   apt-get install g++ pkg-config libgrpc++-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cd "$1"

"${PROTOC:-protoc}" -I "$here/../../protos" --cpp_out=. \
    --plugin=protoc-gen-grpc="$(command -v grpc_cpp_plugin)" --grpc_out=. \
    ilab_chat/v1/chat.proto google/rpc/status.proto google/rpc/error_details.proto
flags="-std=c++17 -I . $(pkg-config --cflags grpc++ protobuf)"
# -include: program and stub are one unit, because each takes most of its time for the headers of gRPC.
g++ $flags -include ilab_chat/v1/chat.grpc.pb.cc -c "$here/chat.cc"
g++ $flags -o chat chat.o ilab_chat/v1/chat.pb.cc google/rpc/status.pb.cc google/rpc/error_details.pb.cc \
    $(pkg-config --libs grpc++ protobuf)
