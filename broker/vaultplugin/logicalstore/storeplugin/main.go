// Command storeplugin is for tests, and ships with nothing: a plugin of Vault's that serves stores in the storage which Vault gives it to the tests of the core, which
// are in another process. See package pluginstore of the main module.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/plugin"

	"github.com/vouchsafe/vouchsafe/broker/vaultplugin/logicalstore"
	"github.com/vouchsafe/vouchsafe/internal/vaulttest/pluginstore/wire"
	"github.com/vouchsafe/vouchsafe/store"
)

func main() {
	if err := plugin.ServeMultiplex(&plugin.ServeOpts{BackendFactoryFunc: factory}); err != nil {
		fmt.Fprintln(os.Stderr, "storeplugin:", err)
		os.Exit(1)
	}
}

// factory makes the backend of a mount, which serves the mount's storage when its one path is written to.
func factory(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
	b := &framework.Backend{BackendType: logical.TypeLogical, Paths: []*framework.Path{{
		Pattern: "serve",
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.UpdateOperation: &framework.PathOperation{Callback: func(_ context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
				socket, err := serve(req.Storage)
				if err != nil {
					return nil, err
				}
				return &logical.Response{Data: map[string]any{"socket": socket}}, nil
			}},
		},
	}}}
	return b, b.Setup(ctx, conf)
}

// serve serves stores in a storage, each in a folder of its own, on a socket whose path it returns, until this process ends.
func serve(storage logical.Storage) (string, error) {
	dir, err := os.MkdirTemp("", "store") // in a folder of the server's, which goes with it
	if err != nil {
		return "", err
	}
	socket := filepath.Join(dir, "socket")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return "", err
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: wire.Handler(func(name string) store.Store {
		return logicalstore.New(logical.NewStorageView(storage, name+"/"))
	})}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			fmt.Fprintln(os.Stderr, "storeplugin:", err)
			os.Exit(1)
		}
	}()
	return socket, nil
}
