// A client in Java: java -jar chat.jar chat | stream | invalid | deadline | cancel

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.Status;
import ilab.chat.v1.ChatRequest;
import ilab.chat.v1.ChatResponse;
import ilab.chat.v1.ChatServiceGrpc;
import ilab.chat.v1.StreamChatRequest;
import ilab.chat.v1.StreamChatResponse;
import io.grpc.Context;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.TimeUnit;

public final class Chat {
  private static final String USER = "example-java";

  // A call that fails with UNAVAILABLE before its answer begins is repeated. Its request_id makes that safe.
  private static final Map<String, ?> SERVICE_CONFIG =
      Map.of("methodConfig", List.of(Map.of(
          "name", List.of(Map.of("service", "ilab_chat.v1.ChatService")),
          "retryPolicy", Map.of(
              "maxAttempts", 4.0, "initialBackoff", "0.1s", "maxBackoff", "1s", "backoffMultiplier", 3.0,
              "retryableStatusCodes", List.of("UNAVAILABLE")))));

  private final ChatServiceGrpc.ChatServiceBlockingStub client;

  private Chat(ManagedChannel channel) {
    client = ChatServiceGrpc.newBlockingStub(channel);
  }

  private void chat(String message) {
    ChatRequest request = ChatRequest.newBuilder()
        .setUserId(USER).setMessage(message).setRequestId(UUID.randomUUID().toString()).build();
    ChatResponse response = client.withDeadlineAfter(60, TimeUnit.SECONDS).chat(request);
    System.out.println("reply " + response.getReply());
  }

  private void stream(String message, long milliseconds, boolean leaveEarly) {
    StreamChatRequest request = StreamChatRequest.newBuilder()
        .setUserId(USER).setMessage(message).setRequestId(UUID.randomUUID().toString()).build();
    // A blocking call is cancelled through the context in which it began.
    try (Context.CancellableContext context = Context.current().withCancellation()) {
      context.run(() -> {
        Iterator<StreamChatResponse> events =
            client.withDeadlineAfter(milliseconds, TimeUnit.MILLISECONDS).streamChat(request);
        while (events.hasNext()) {
          StreamChatResponse event = events.next();
          // Skip all other events: new kinds may be added.
          if (event.hasTextDelta()) {
            System.out.println("delta " + event.getTextDelta().getText());
            if (leaveEarly) {
              context.cancel(null); // stops the model, too
            }
          } else if (event.hasCompleted()) {
            System.out.println("completed " + event.getCompleted().getReply());
          }
        }
      });
    }
  }

  /** Shows the code for a general policy, the reason for a specific one, and the fields to correct. */
  private static void printError(StatusRuntimeException error) throws InvalidProtocolBufferException {
    System.out.println("error " + error.getStatus().getCode());
    Status status = StatusProto.fromThrowable(error);
    for (Any detail : status.getDetailsList()) {
      if (detail.is(ErrorInfo.class)) {
        System.out.println("reason " + detail.unpack(ErrorInfo.class).getReason());
      } else if (detail.is(BadRequest.class)) {
        for (BadRequest.FieldViolation violation : detail.unpack(BadRequest.class).getFieldViolationsList()) {
          System.out.println("field " + violation.getField() + " " + violation.getDescription());
        }
      }
    }
  }

  public static void main(String[] arguments) throws Exception {
    String address = System.getenv().getOrDefault("ILAB_CHAT_ADDRESS", "127.0.0.1:50051");
    ManagedChannel channel = ManagedChannelBuilder.forTarget(address)
        .usePlaintext().enableRetry().defaultServiceConfig(SERVICE_CONFIG).build();
    Chat client = new Chat(channel);
    String command = arguments.length > 0 ? arguments[0] : "chat";
    try {
      switch (command) {
        case "chat" -> client.chat("My name is Alice and I love hiking.");
        case "stream" -> client.stream("What do I love?", 60_000, false);
        case "invalid" -> client.chat("");
        case "deadline" -> client.stream("Tell me a long story.", 500, false);
        case "cancel" -> client.stream("Tell me a story.", 60_000, true);
        default -> throw new IllegalArgumentException("unknown command " + command);
      }
    } catch (StatusRuntimeException error) {
      printError(error);
    } finally {
      channel.shutdownNow().awaitTermination(10, TimeUnit.SECONDS);
    }
  }
}
