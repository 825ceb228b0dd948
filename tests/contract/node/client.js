// Usage: node client.js ADDRESS chat|stream|cancel|import|list REQUEST
// Prints each message as one line of JSON, then {"code": ..., "details": ...} when the call did not end OK.
"use strict";

const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const protos = path.join(__dirname, "../../../protos");
const definition = loader.loadSync(["ilab_chat/v1/chat.proto", "ilab_chat/v1/memory.proto"], {
  includeDirs: [protos],
  keepCase: true, // field names as in the .proto
  longs: String, // an int64 does not fit a JavaScript number
  enums: String,
  oneofs: true, // event.event names the field that is set
});
const { ChatService, MemoryService } = grpc.loadPackageDefinition(definition).ilab_chat.v1;

const [address, command, request] = process.argv.slice(2);
const client = new ChatService(address, grpc.credentials.createInsecure());
const deadline = Date.now() + 30_000; // milliseconds
const print = (value) => console.log(JSON.stringify(value));
const failed = (error) => print({ code: error.code, details: error.details });

if (command === "import") {
  // REQUEST is a list of messages.
  const memory = new MemoryService(address, grpc.credentials.createInsecure());
  const call = memory.ImportUser({ deadline }, (error, response) => (error ? failed(error) : print(response)));
  for (const message of JSON.parse(request)) call.write(message);
  call.end();
} else if (command === "list") {
  const memory = new MemoryService(address, grpc.credentials.createInsecure());
  memory.ListObservations(JSON.parse(request), { deadline }, (error, page) => (error ? failed(error) : print(page)));
} else if (command === "chat") {
  client.Chat(JSON.parse(request), { deadline }, (error, response) => (error ? failed(error) : print(response)));
} else {
  const call = client.StreamChat(JSON.parse(request), { deadline });
  call.on("data", (event) => {
    print(event);
    if (command === "cancel" && event.event === "text_delta") call.cancel();
  });
  call.on("error", failed);
}
