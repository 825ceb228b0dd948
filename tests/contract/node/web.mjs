// A gRPC-Web client as in a browser: Connect's, over fetch.
//   node web.mjs URL DESCRIPTORS COUNT REQUEST
// Prints each event as a line of JSON, at most COUNT of them, or the failure.

import { readFileSync } from "node:fs";
import { createFileRegistry, fromBinary, fromJson, toJson } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

const [url, descriptors, count, request] = process.argv.slice(2);
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(descriptors)));
const service = registry.getService("ilab_chat.v1.ChatService");
const client = createClient(service, createGrpcWebTransport({ baseUrl: url }));
const method = service.method.streamChat;
const print = (value) => console.log(JSON.stringify(value));

try {
  let left = Number(count);
  for await (const event of client.streamChat(fromJson(method.input, JSON.parse(request)))) {
    print(toJson(method.output, event));
    left -= 1;
    if (left === 0) break;  // leaves the stream, which cancels the call
  }
} catch (error) {
  const failure = ConnectError.from(error);
  const info = registry.getMessage("google.rpc.ErrorInfo");
  const reasons = failure.findDetails(info).map((detail) => detail.reason);
  print({ code: Code[failure.code], message: failure.rawMessage, reasons, trailers: Object.fromEntries(failure.metadata) });
}
