package swtpm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/google/go-tpm/tpm2/transport"
)

// Addresses of a software TPM start with Prefix: "swtpm:unix:PATH" or "swtpm:HOST:PORT".
const (
	Prefix     = "swtpm:"
	unixPrefix = Prefix + "unix:"
)

// maxResponse bounds a response, in bytes: a TPM's buffers are 4096.
const maxResponse = 4096

// commandTimeout bounds one command. Making an RSA key takes seconds at worst.
const commandTimeout = 60 * time.Second

// Dial connects to a software TPM. It serves one connection at a time; another waits.
func Dial(ctx context.Context, addr string) (transport.TPMCloser, error) {
	network, address := "tcp", strings.TrimPrefix(addr, Prefix)
	if path, is := strings.CutPrefix(addr, unixPrefix); is {
		network, address = "unix", path
	}
	connection, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &socket{connection}, nil
}

type socket struct{ net.Conn }

// Send implements transport.TPM: a command and its response, each of which has its length in bytes 2 to 5.
func (s *socket) Send(command []byte) ([]byte, error) {
	if err := s.SetDeadline(time.Now().Add(commandTimeout)); err != nil {
		return nil, err
	}
	if _, err := s.Write(command); err != nil {
		return nil, err
	}
	const header = 10
	response := make([]byte, maxResponse)
	if _, err := io.ReadFull(s, response[:header]); err != nil {
		return nil, fmt.Errorf("swtpm: no response: %w", err)
	}
	size := binary.BigEndian.Uint32(response[2:])
	if size < header || size > maxResponse {
		return nil, errors.New("swtpm: a response with an impossible length")
	}
	if _, err := io.ReadFull(s, response[header:size]); err != nil {
		return nil, fmt.Errorf("swtpm: a cut response: %w", err)
	}
	return response[:size], nil
}
