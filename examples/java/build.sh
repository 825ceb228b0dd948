#!/bin/sh
# Build DIRECTORY/chat.jar. On Debian:
#   apt-get install default-jdk-headless libgrpc-java libnetty-java libperfmark-java libgeronimo-annotation-1.3-spec-java \
#       protobuf-compiler protobuf-compiler-grpc-java-plugin
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1/classes"
cd "$1"

jars=
for name in grpc-api grpc-context grpc-core grpc-netty grpc-protobuf grpc-protobuf-lite grpc-stub protobuf \
    guava failureaccess gson perfmark-api geronimo-annotation-1.3-spec \
    netty-buffer netty-codec netty-codec-http netty-codec-http2 netty-codec-socks netty-common netty-handler \
    netty-handler-proxy netty-resolver netty-transport netty-transport-native-unix-common; do
    jars="$jars /usr/share/java/$name.jar"
done
# google/rpc: Debian's package of it lacks ErrorInfo.
"${PROTOC:-protoc}" -I "$here/../../protos" --java_out=. \
    --plugin=protoc-gen-grpc="$(command -v grpc_java_plugin)" --grpc_out=. \
    ilab_chat/v1/chat.proto google/rpc/status.proto google/rpc/error_details.proto
# -J: the compiler runs once, so it need not be optimized; this halves the time.
javac -J-XX:TieredStopAtLevel=1 -nowarn -proc:none -cp "$(echo $jars | tr ' ' :)" -d classes \
    "$here/Chat.java" ilab/chat/v1/*.java com/google/rpc/*.java
printf 'Class-Path: %s\n' "$(echo $jars | sed 's/ / \n  /g')" > manifest
jar --create --file chat.jar --manifest manifest --main-class Chat -C classes .
