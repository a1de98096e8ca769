package contract

import (
	"context"
	"log"
	"os"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "contract/gen/contract/v1"
	uactor "contract/gen/uactor/v1"
)

var (
	client pb.ContractServiceClient
	actor  uactor.ActorServiceClient
)

func TestMain(m *testing.M) {
	connection, err := grpc.NewClient(
		os.Getenv("CONTRACT_ADDRESS"), grpc.WithTransportCredentials(insecure.NewCredentials()),
	)
	if err != nil {
		log.Fatal(err)
	}
	client = pb.NewContractServiceClient(connection)
	actor = uactor.NewActorServiceClient(connection)
	os.Exit(m.Run())
}

// keyed returns a context with the authkey.
func keyed(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return metadata.AppendToOutgoingContext(ctx, "authorization", os.Getenv("CONTRACT_AUTHORIZATION"))
}

// must returns a result, or ends the test.
func must[T any](result T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return result
	}
}

func expect[T comparable](t *testing.T, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// expectSeen checks that a value has come back, and that Python has seen in it what it should.
func expectSeen(t *testing.T, back, sent proto.Message, asPython, want string) {
	t.Helper()
	if !proto.Equal(back, sent) {
		t.Errorf("got  %v\nwant %v", back, sent)
	}
	expect(t, asPython, want)
}

// details returns the details of an error, which must have a code.
func details(t *testing.T, err error, code codes.Code) (*errdetails.ErrorInfo, *errdetails.BadRequest) {
	t.Helper()
	var info *errdetails.ErrorInfo
	var request *errdetails.BadRequest
	failure := status.Convert(err)
	expect(t, failure.Code(), code)
	for _, detail := range failure.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			info = detail
		case *errdetails.BadRequest:
			request = detail
		}
	}
	return info, request
}
