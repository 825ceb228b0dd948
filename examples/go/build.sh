#!/bin/sh
# Build DIRECTORY/chat without a module proxy, from Debian's packages:
#   apt-get install golang-go golang-google-grpc-dev golang-google-genproto-dev protoc-gen-go protoc-gen-go-grpc
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$1
package=$out/src/example
mkdir -p "$package/ilabchat"

stubs=Milab_chat/v1/chat.proto=example/ilabchat
protoc -I "$here/../../protos" --go_out="$out/src" --go_opt="$stubs" --go-grpc_out="$out/src" --go-grpc_opt="$stubs" \
    ilab_chat/v1/chat.proto
cp "$here/main.go" "$package/"
GO111MODULE=off GOPATH="$out:/usr/share/gocode" go build -o "$out/chat" example
