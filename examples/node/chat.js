// A client in Node with generated stubs: node chat.js chat | stream | invalid | deadline | cancel
"use strict";

const { randomUUID } = require("node:crypto");
const { ChannelCredentials } = require("@grpc/grpc-js");
const { GrpcTransport } = require("@protobuf-ts/grpc-transport");
const { RpcError } = require("@protobuf-ts/runtime-rpc");
const { BadRequest, ErrorInfo } = require("./stubs/google/rpc/error_details");
const { Status } = require("./stubs/google/rpc/status");
const { Any } = require("./stubs/google/protobuf/any");
const { ChatRequest, StreamChatRequest } = require("./stubs/ilab_chat/v1/chat");
const { ChatServiceClient } = require("./stubs/ilab_chat/v1/chat.client");

const userId = "example-node";

// A call that fails with UNAVAILABLE before its answer begins is repeated. Its requestId makes that safe.
const serviceConfig = {
  methodConfig: [
    {
      name: [{ service: "ilab_chat.v1.ChatService" }],
      retryPolicy: {
        maxAttempts: 4,
        initialBackoff: "0.1s",
        maxBackoff: "1s",
        backoffMultiplier: 3,
        retryableStatusCodes: ["UNAVAILABLE"],
      },
    },
  ],
};
const transport = new GrpcTransport({
  host: process.env.ILAB_CHAT_ADDRESS || "127.0.0.1:50051",
  channelCredentials: ChannelCredentials.createInsecure(),
  clientOptions: { "grpc.service_config": JSON.stringify(serviceConfig) },
});
const client = new ChatServiceClient(transport);

async function chat(message) {
  const request = ChatRequest.create({ userId, message, requestId: randomUUID() });
  const { reply } = await client.chat(request, { timeout: 60_000 }).response;
  console.log("reply", reply);
}

async function stream(message, { timeout = 60_000, leaveEarly = false } = {}) {
  const request = StreamChatRequest.create({ userId, message, requestId: randomUUID() });
  const leaving = new AbortController();
  const call = client.streamChat(request, { timeout, abort: leaving.signal });
  for await (const { event } of call.responses) {
    // Skip all other events: new kinds may be added.
    if (event.oneofKind === "textDelta") {
      console.log("delta", event.textDelta.text);
      if (leaveEarly) leaving.abort(); // stops the model, too
    } else if (event.oneofKind === "completed") {
      console.log("completed", event.completed.reply);
    }
  }
}

// Shows the code for a general policy, the reason for a specific one, and the fields to correct.
function printError(error) {
  console.log("error", error.code);
  const trailer = error.meta["grpc-status-details-bin"]; // missing if gRPC itself failed
  if (!trailer) return;
  for (const detail of Status.fromBinary(Buffer.from(trailer, "base64")).details) {
    if (Any.contains(detail, ErrorInfo)) {
      console.log("reason", Any.unpack(detail, ErrorInfo).reason);
    } else if (Any.contains(detail, BadRequest)) {
      for (const violation of Any.unpack(detail, BadRequest).fieldViolations) {
        console.log("field", violation.field, violation.description);
      }
    }
  }
}

const commands = {
  chat: () => chat("My name is Alice and I love hiking."),
  stream: () => stream("What do I love?"),
  invalid: () => chat(""),
  deadline: () => stream("Tell me a long story.", { timeout: 500 }),
  cancel: () => stream("Tell me a story.", { leaveEarly: true }),
};

commands[process.argv[2] || "chat"]()
  .catch((error) => {
    if (!(error instanceof RpcError)) throw error;
    printError(error);
  })
  .finally(() => transport.close());
