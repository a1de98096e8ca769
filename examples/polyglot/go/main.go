// Command manual searches Python's manual, which an actor serves.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	manual "manual/gen/manual/v1"
	uactor "manual/gen/uactor/v1"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: manual ADDRESS KEYFILE")
	}
	connection, err := dial(os.Args[1], os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	reader := reader{manual.NewManualServiceClient(connection), uactor.NewActorServiceClient(connection)}
	steps := []func(context.Context) error{
		reader.search, reader.suggest, reader.lookUp, reader.ingest, reader.searchWithin, reader.fail,
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			log.Fatal(err)
		}
	}
}

// reader uses the manual by its typed service, and handles by that of all actors.
type reader struct {
	manual manual.ManualServiceClient
	actor  uactor.ActorServiceClient
}

// search is a unary call. What is left out of the request has its default in Python.
func (r reader) search(ctx context.Context) error {
	fmt.Println("search:")
	return r.show(ctx, &manual.SearchRequest{
		Query:   proto.String("context manager exit exception"),
		Limit:   proto.Int64(2),
		Section: manual.Section_SECTION_LANGUAGE.Enum(),
	})
}

func (r reader) show(ctx context.Context, request *manual.SearchRequest) error {
	found, err := r.manual.Search(ctx, request)
	if err != nil {
		return err
	}
	for _, hit := range found.Result {
		fmt.Printf("  %s: %s\n", hit.GetName(), hit.GetExcerpt())
	}
	return nil
}

// suggest reads a stream of the server to its end.
func (r reader) suggest(ctx context.Context) error {
	stream, err := r.manual.Suggest(ctx, &manual.SuggestRequest{Prefix: proto.String("is")})
	if err != nil {
		return err
	}
	fmt.Print("suggest:")
	for {
		suggestion, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			fmt.Println()
			return nil
		}
		if err != nil {
			return err
		}
		fmt.Printf(" %s", suggestion.GetResult())
	}
}

// lookUp has a union for a result.
func (r reader) lookUp(ctx context.Context) error {
	for _, name := range []string{"elif", "callable"} {
		found, err := r.manual.LookUp(ctx, &manual.LookUpRequest{Name: proto.String(name)})
		if err != nil {
			return err
		}
		switch result := found.Result.(type) {
		case *manual.LookUpResponse_ResultSee:
			fmt.Printf("look up %s: see %s\n", name, result.ResultSee.GetName())
		case *manual.LookUpResponse_ResultDocument:
			fmt.Printf("look up %s: in %s\n", name, result.ResultDocument.GetSection())
		}
	}
	return nil
}

// ingest sends a stream to the server.
func (r reader) ingest(ctx context.Context) error {
	stream, err := r.manual.Ingest(ctx)
	if err != nil {
		return err
	}
	notes := map[string]string{
		"goroutine": "A goroutine is to Go what a thread is to Python, and cheaper.",
		"channel":   "A channel is to a goroutine what a queue is to a thread.",
	}
	now := timestamppb.New(time.Now().Truncate(time.Microsecond)) // finer than that is no datetime
	for name, text := range notes {
		note := &manual.Document{Name: proto.String(name), Text: proto.String(text), Written: now}
		// An error ends the stream, and CloseAndRecv tells which.
		if err := stream.Send(&manual.IngestRequest{Documents: note}); err != nil {
			break
		}
	}
	ingested, err := stream.CloseAndRecv()
	if err != nil {
		return err
	}
	result := ingested.Result
	fmt.Printf("ingest: %d added, %d replaced\n", result.GetAdded(), len(result.Replaced))
	return nil
}

// searchWithin passes a handle back: the set that it names stays in the actor until it is released.
func (r reader) searchWithin(ctx context.Context) error {
	selected, err := r.manual.Select(ctx, &manual.SelectRequest{Query: proto.String("goroutine")})
	if err != nil {
		return err
	}
	handle := selected.Result
	fmt.Printf("search within a %s of the actor:\n", handle.Typeid)
	err = r.show(ctx, &manual.SearchRequest{Query: proto.String("thread queue"), Within: handle})
	if err != nil {
		return err
	}
	_, err = r.actor.ReleaseHandle(ctx, &uactor.ReleaseHandleRequest{Handles: []string{handle.Id}})
	return err
}

// fail shows what an error tells.
func (r reader) fail(ctx context.Context) error {
	_, err := r.manual.LookUp(ctx, &manual.LookUpRequest{Name: proto.String("goto")})
	failure := status.Convert(err)
	fmt.Printf("look up goto: %s\n", failure.Code())
	for _, detail := range failure.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			fmt.Printf("  raised: %s\n  executed: %s\n", info.Metadata["py_type"], info.Metadata["executed"])
		}
	}
	return nil
}
