// A client in Go: go run . chat | stream | invalid | deadline | cancel
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	pb "example/ilabchat"
)

// A call that fails with UNAVAILABLE before its answer begins is repeated. Its RequestId makes that safe.
const serviceConfig = `{
  "methodConfig": [{
    "name": [{"service": "ilab_chat.v1.ChatService"}],
    "retryPolicy": {
      "maxAttempts": 4, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 3,
      "retryableStatusCodes": ["UNAVAILABLE"]
    }
  }]
}`

const user = "example-go"

func chat(client pb.ChatServiceClient, message string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	response, err := client.Chat(ctx, &pb.ChatRequest{UserId: user, Message: message, RequestId: newRequestID()})
	if err != nil {
		return err
	}
	fmt.Println("reply", response.GetReply())
	return nil
}

func stream(client pb.ChatServiceClient, message string, timeout time.Duration, leaveEarly bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	request := &pb.StreamChatRequest{UserId: user, Message: message, RequestId: newRequestID()}
	events, err := client.StreamChat(ctx, request)
	if err != nil {
		return err
	}
	for {
		event, err := events.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		// Skip all other events: new kinds may be added.
		if delta := event.GetTextDelta(); delta != nil {
			fmt.Println("delta", delta.GetText())
			if leaveEarly {
				cancel() // stops the model, too
			}
		}
		if completed := event.GetCompleted(); completed != nil {
			fmt.Println("completed", completed.GetReply())
		}
	}
}

// printError shows the code for a general policy, the reason for a specific one, and the fields to correct.
func printError(err error) {
	failure := status.Convert(err)
	fmt.Println("error", failure.Code())
	for _, detail := range failure.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			fmt.Println("reason", detail.GetReason())
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				fmt.Println("field", violation.GetField(), violation.GetDescription())
			}
		}
	}
}

// newRequestID returns a random string. Repeat a call with the same one, and its turn is stored once.
func newRequestID() string {
	bytes := make([]byte, 16)
	if _, err := rand.Read(bytes); err != nil {
		log.Fatal(err)
	}
	return hex.EncodeToString(bytes)
}

func run(client pb.ChatServiceClient, command string) error {
	switch command {
	case "chat":
		return chat(client, "My name is Alice and I love hiking.")
	case "stream":
		return stream(client, "What do I love?", time.Minute, false)
	case "invalid":
		return chat(client, "")
	case "deadline":
		return stream(client, "Tell me a long story.", time.Second/2, false)
	case "cancel":
		return stream(client, "Tell me a story.", time.Minute, true)
	}
	return fmt.Errorf("unknown command %q", command)
}

func main() {
	target := os.Getenv("ILAB_CHAT_ADDRESS")
	if target == "" {
		target = "127.0.0.1:50051"
	}
	// From version 1.63 of grpc-go: grpc.NewClient, and credentials/insecure instead of WithInsecure.
	connection, err := grpc.Dial(target, grpc.WithInsecure(), grpc.WithDefaultServiceConfig(serviceConfig))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	command := "chat"
	if len(os.Args) > 1 {
		command = os.Args[1]
	}
	if err := run(pb.NewChatServiceClient(connection), command); err != nil {
		printError(err)
	}
}
