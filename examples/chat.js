// Two calls from Node with nothing but the .proto files; the second one remembers the first.
// npm install @grpc/grpc-js @grpc/proto-loader && node examples/chat.js
"use strict";

const { randomUUID } = require("node:crypto");
const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const definition = loader.loadSync("ilab_chat/v1/chat.proto", {
  includeDirs: [path.join(__dirname, "../protos")],
  keepCase: true, // field names as in the .proto
  longs: String, // an int64 does not fit a JavaScript number
  enums: String,
  oneofs: true, // event.event names the field that is set
  defaults: true, // an empty list is [], not undefined
});
const { ChatService } = grpc.loadPackageDefinition(definition).ilab_chat.v1;

// A call that fails before its answer begins is repeated. Its request_id makes that safe.
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
const client = new ChatService(process.env.ILAB_CHAT_ADDRESS || "127.0.0.1:50051", grpc.credentials.createInsecure(), {
  "grpc.service_config": JSON.stringify(serviceConfig),
});

function ask(message) {
  const request = { user_id: "example-node", message, request_id: randomUUID() };
  const call = client.StreamChat(request, { deadline: Date.now() + 60_000 });
  return new Promise((resolve, reject) => {
    let response;
    call.on("data", (event) => {
      if (event.event === "text_delta") process.stdout.write(event.text_delta.text);
      if (event.event === "completed") response = event.completed;
      // Skip all other events: new kinds may be added.
    });
    call.on("error", reject);
    call.on("end", () => {
      process.stdout.write("\n");
      resolve(response);
    });
  });
}

async function main() {
  await ask("My name is Alice and I love hiking.");
  const { memories } = await ask("What do I love?");
  for (const memory of memories) console.log("remembered:", memory.title || "an earlier turn", memory.snippet || "");
  client.close();
}

main().catch((error) => {
  console.error(error.code, error.details);
  process.exitCode = 1;
});
