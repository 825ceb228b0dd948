// A client in C++: chat chat | stream | invalid | deadline | cancel
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <random>
#include <sstream>
#include <string>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "ilab_chat/v1/chat.grpc.pb.h"

using namespace std::chrono_literals;
using ilab_chat::v1::ChatService;

const char kUser[] = "example-cpp";

// A call that fails with UNAVAILABLE before its answer begins is repeated. Its request_id makes that safe.
const char kServiceConfig[] = R"({
  "methodConfig": [{
    "name": [{"service": "ilab_chat.v1.ChatService"}],
    "retryPolicy": {
      "maxAttempts": 4, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 3,
      "retryableStatusCodes": ["UNAVAILABLE"]
    }
  }]
})";

// Repeat a call with the same request_id, and its turn is stored once.
std::string NewRequestId() {
  std::random_device random;
  std::ostringstream id;
  for (int i = 0; i < 4; ++i) id << std::hex << random();
  return id.str();
}

grpc::Status Chat(ChatService::Stub& client, const std::string& message) {
  ilab_chat::v1::ChatRequest request;
  request.set_user_id(kUser);
  request.set_message(message);
  request.set_request_id(NewRequestId());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + 60s);
  ilab_chat::v1::ChatResponse response;
  grpc::Status status = client.Chat(&context, request, &response);
  if (status.ok()) std::cout << "reply " << response.reply() << std::endl;
  return status;
}

grpc::Status Stream(ChatService::Stub& client, const std::string& message,
                    std::chrono::milliseconds timeout = 60s, bool leave_early = false) {
  ilab_chat::v1::StreamChatRequest request;
  request.set_user_id(kUser);
  request.set_message(message);
  request.set_request_id(NewRequestId());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + timeout);
  auto stream = client.StreamChat(&context, request);
  ilab_chat::v1::StreamChatResponse event;
  while (stream->Read(&event)) {
    // Skip all other events: new kinds may be added.
    if (event.has_text_delta()) {
      std::cout << "delta " << event.text_delta().text() << std::endl;
      if (leave_early) context.TryCancel();  // stops the model, too
    } else if (event.has_completed()) {
      std::cout << "completed " << event.completed().reply() << std::endl;
    }
  }
  return stream->Finish();
}

// Shows the code for a general policy, the reason for a specific one, and the fields to correct.
void PrintError(const grpc::Status& status) {
  std::cout << "error " << status.error_code() << std::endl;
  google::rpc::Status details;
  details.ParseFromString(status.error_details());
  for (const auto& detail : details.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::BadRequest bad_request;
    if (detail.UnpackTo(&info)) {
      std::cout << "reason " << info.reason() << std::endl;
    } else if (detail.UnpackTo(&bad_request)) {
      for (const auto& violation : bad_request.field_violations())
        std::cout << "field " << violation.field() << " " << violation.description() << std::endl;
    }
  }
}

int main(int argc, char** argv) {
  const char* address = std::getenv("ILAB_CHAT_ADDRESS");
  grpc::ChannelArguments arguments;
  arguments.SetServiceConfigJSON(kServiceConfig);
  ChatService::Stub client(grpc::CreateCustomChannel(address ? address : "127.0.0.1:50051",
                                                     grpc::InsecureChannelCredentials(), arguments));
  std::string command = argc > 1 ? argv[1] : "chat";
  grpc::Status status(grpc::StatusCode::UNIMPLEMENTED, "unknown command " + command);
  if (command == "chat") status = Chat(client, "My name is Alice and I love hiking.");
  if (command == "stream") status = Stream(client, "What do I love?");
  if (command == "invalid") status = Chat(client, "");
  if (command == "deadline") status = Stream(client, "Tell me a long story.", 500ms);
  if (command == "cancel") status = Stream(client, "Tell me a story.", 60s, true);
  if (!status.ok()) PrintError(status);
}
