# A client in Ruby: ruby -I DIRECTORY_OF_STUBS chat.rb chat | stream | invalid | deadline | cancel
# frozen_string_literal: true

require "json"
require "securerandom"
require "google/protobuf/well_known_types"
require "google/rpc/error_details_pb"
require "ilab_chat/v1/chat_services_pb"

USER = "example-ruby"

# A call that fails with UNAVAILABLE before its answer begins is repeated. Its request_id makes that safe.
SERVICE_CONFIG = {
  methodConfig: [{
    name: [{ service: "ilab_chat.v1.ChatService" }],
    retryPolicy: {
      maxAttempts: 4, initialBackoff: "0.1s", maxBackoff: "1s", backoffMultiplier: 3,
      retryableStatusCodes: ["UNAVAILABLE"]
    }
  }]
}.freeze

def chat(client, message)
  request = IlabChat::V1::ChatRequest.new(user_id: USER, message: message, request_id: SecureRandom.uuid)
  puts "reply #{client.chat(request, deadline: Time.now + 60).reply}"
end

def stream(client, message, timeout: 60, leave_early: false)
  request = IlabChat::V1::StreamChatRequest.new(user_id: USER, message: message, request_id: SecureRandom.uuid)
  call = client.stream_chat(request, deadline: Time.now + timeout, return_op: true)
  call.execute.each do |event|
    case event.event # Skip all other events: new kinds may be added.
    when :text_delta
      puts "delta #{event.text_delta.text}"
      call.cancel if leave_early # stops the model, too
    when :completed
      puts "completed #{event.completed.reply}"
    end
  end
end

# Shows the code for a general policy, the reason for a specific one, and the fields to correct.
def print_error(error)
  puts "error #{error.class.name.split("::").last}"
  status = error.to_rpc_status # nil if gRPC itself failed
  (status ? status.details : []).each do |detail|
    if detail.is(Google::Rpc::ErrorInfo)
      puts "reason #{detail.unpack(Google::Rpc::ErrorInfo).reason}"
    elsif detail.is(Google::Rpc::BadRequest)
      detail.unpack(Google::Rpc::BadRequest).field_violations.each { |each| puts "field #{each.field} #{each.description}" }
    end
  end
end

client = IlabChat::V1::ChatService::Stub.new(
  ENV.fetch("ILAB_CHAT_ADDRESS", "127.0.0.1:50051"), :this_channel_is_insecure,
  channel_args: { "grpc.service_config" => JSON.generate(SERVICE_CONFIG) }
)
begin
  case command = ARGV.fetch(0, "chat")
  when "chat" then chat(client, "My name is Alice and I love hiking.")
  when "stream" then stream(client, "What do I love?")
  when "invalid" then chat(client, "")
  when "deadline" then stream(client, "Tell me a long story.", timeout: 0.5)
  when "cancel" then stream(client, "Tell me a story.", leave_early: true)
  else abort "unknown command #{command}"
  end
rescue GRPC::BadStatus => e
  print_error(e)
end
