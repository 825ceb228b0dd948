// An HTTP service: POST /chat with {"user_id": ..., "message": ...} answers with the reply while the model writes it.
// npm install @grpc/grpc-js @grpc/proto-loader && node examples/service.js, in the folder that contains protos.
"use strict";

const { randomUUID } = require("node:crypto");
const http = require("node:http");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const definition = loader.loadSync(
  ["ilab_chat/v1/chat.proto", "google/rpc/status.proto", "google/rpc/error_details.proto"],
  { includeDirs: ["protos"], keepCase: true, longs: String, enums: String, oneofs: true, defaults: true },
);
const { ChatService } = grpc.loadPackageDefinition(definition).ilab_chat.v1;

// A call that fails before its answer begins is repeated. Its request_id makes that safe.
const retryPolicy = {
  maxAttempts: 4,
  initialBackoff: "0.1s",
  maxBackoff: "1s",
  backoffMultiplier: 3,
  retryableStatusCodes: ["UNAVAILABLE"],
};
const client = new ChatService(process.env.ILAB_CHAT_ADDRESS || "127.0.0.1:50051", grpc.credentials.createInsecure(), {
  "grpc.service_config": JSON.stringify({
    methodConfig: [{ name: [{ service: "ilab_chat.v1.ChatService" }], retryPolicy }],
  }),
});

// Why a call failed: error.code and error.details say it in gRPC's words, and this in the service's.
// `reason` is empty if the status does not come from the service: nothing listens there, or a proxy answered.
function detailsOf(error) {
  const found = { reason: "", fields: [], retryAfter: 0, correlationId: "" };
  const [packed] = error.metadata?.get("grpc-status-details-bin") ?? [];
  const status = packed && definition["google.rpc.Status"].deserialize(packed);
  for (const { type_url, value } of status?.details ?? []) {
    const type = type_url.split("/").pop();
    const detail = definition[type]?.deserialize(value);
    if (type === "google.rpc.ErrorInfo") {
      found.reason = detail.reason;
      found.correlationId = detail.metadata.correlation_id ?? "";
    } else if (type === "google.rpc.BadRequest") {
      found.fields = detail.field_violations; // of { field, description }
    } else if (type === "google.rpc.RetryInfo" && detail.retry_delay) {
      found.retryAfter = Number(detail.retry_delay.seconds) + detail.retry_delay.nanos / 1e9;
    }
  }
  return found;
}

const HTTP_STATUS = {
  [grpc.status.INVALID_ARGUMENT]: 400,
  [grpc.status.UNAUTHENTICATED]: 401,
  [grpc.status.PERMISSION_DENIED]: 403,
  [grpc.status.FAILED_PRECONDITION]: 409,
  [grpc.status.RESOURCE_EXHAUSTED]: 429,
  [grpc.status.UNAVAILABLE]: 503,
  [grpc.status.DEADLINE_EXCEEDED]: 504,
};

function answer(request, response) {
  const call = client.StreamChat(request, { deadline: Date.now() + 120_000 });
  response.on("close", () => call.cancel()); // the caller has left: this stops the model
  call.on("data", (event) => {
    if (event.event === "started") response.writeHead(200, { "content-type": "text/plain; charset=utf-8" });
    if (event.event === "text_delta") response.write(event.text_delta.text);
    if (event.event === "completed") response.end();
    // Skip all other events: new kinds may be added.
  });
  call.on("error", (error) => {
    if (response.headersSent) return response.destroy(); // so that the caller sees that the reply is not complete
    const { retryAfter, ...details } = detailsOf(error);
    const headers = { "content-type": "application/json" };
    if (retryAfter) headers["retry-after"] = Math.ceil(retryAfter);
    response.writeHead(HTTP_STATUS[error.code] ?? 502, headers);
    response.end(JSON.stringify({ message: error.details, ...details }));
  });
}

const server = http.createServer(async (request, response) => {
  if (request.method !== "POST" || request.url !== "/chat") return response.writeHead(404).end();
  let body = "";
  for await (const piece of request.setEncoding("utf8")) body += piece;
  let asked;
  try {
    const { user_id, message } = JSON.parse(body);
    asked = { user_id, message, request_id: randomUUID() };
  } catch {
    return response.writeHead(400).end();
  }
  answer(asked, response); // authenticate your users before you pass their id on
});
server.listen(process.env.PORT || 3000, "127.0.0.1", () => {
  console.log(`serving on http://127.0.0.1:${server.address().port}`);
});
