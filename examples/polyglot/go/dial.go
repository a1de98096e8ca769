package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// authkey goes with each call.
type authkey []byte

func (key authkey) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + base64.RawURLEncoding.EncodeToString(key)}, nil
}

// RequireTransportSecurity is false, because actors on this machine have no TLS.
func (key authkey) RequireTransportSecurity() bool {
	return false
}

// dial connects to an actor with the authkey in a file.
func dial(address, keyfile string) (*grpc.ClientConn, error) {
	key, err := os.ReadFile(keyfile)
	if err != nil {
		return nil, err
	}
	return grpc.NewClient(
		address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithPerRPCCredentials(authkey(bytes.TrimSuffix(key, []byte("\n")))),
	)
}
