// Two calls from Go; the second one remembers the first.
//
// Generate the stubs into ./ilabchat, then run:
//
//	go install google.golang.org/protobuf/cmd/protoc-gen-go@latest
//	go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@latest
//	go mod init example
//	M=Milab_chat/v1/chat.proto=example/ilabchat
//	protoc -I ../../protos --go_out=. --go_opt=$M,module=example --go-grpc_out=. --go-grpc_opt=$M,module=example \
//	    ilab_chat/v1/chat.proto
//	go mod tidy && go run .
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	pb "example/ilabchat"
)

// A call that fails before its answer begins is repeated. Its RequestId makes that safe.
const serviceConfig = `{
  "methodConfig": [{
    "name": [{"service": "ilab_chat.v1.ChatService"}],
    "retryPolicy": {
      "maxAttempts": 4, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 3,
      "retryableStatusCodes": ["UNAVAILABLE"]
    }
  }]
}`

func ask(client pb.ChatServiceClient, message string) (*pb.ChatResponse, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel() // leaving early stops the model
	request := &pb.StreamChatRequest{UserId: "example-go", Message: message, RequestId: rand.Text()}
	stream, err := client.StreamChat(ctx, request)
	if err != nil {
		return nil, err
	}
	var response *pb.ChatResponse
	for {
		event, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			fmt.Println()
			return response, nil
		}
		if err != nil {
			return nil, err
		}
		if delta := event.GetTextDelta(); delta != nil {
			fmt.Print(delta.GetText())
		}
		if completed := event.GetCompleted(); completed != nil {
			response = completed
		}
	}
}

func run() error {
	target := os.Getenv("ILAB_CHAT_ADDRESS")
	if target == "" {
		target = "127.0.0.1:50051"
	}
	connection, err := grpc.NewClient(target,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultServiceConfig(serviceConfig))
	if err != nil {
		return err
	}
	defer connection.Close()
	client := pb.NewChatServiceClient(connection)
	if _, err := ask(client, "My name is Alice and I love hiking."); err != nil {
		return err
	}
	response, err := ask(client, "What do I love?")
	if err != nil {
		return err
	}
	for _, memory := range response.GetMemories() {
		fmt.Println("remembered:", memory.GetTitle(), memory.GetSnippet())
	}
	return nil
}

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}
