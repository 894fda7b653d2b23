package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/broker/dev"
)

// TestAuditorsToken makes a token that can do nothing but audit, and verifies the log with it: that takes no administrator's.
func TestAuditorsToken(t *testing.T) {
	dir := t.TempDir()
	node, info, err := dev.Start(t.Context(), dev.Config{Dir: dir, Listen: "localhost:0", Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- node.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := node.Close(); err != nil {
			t.Error(err)
		}
	}()
	t.Setenv("VOUCHSAFE_ADDR", info.URL)
	t.Setenv("VOUCHSAFE_CACERT", info.CACert)
	t.Setenv("VOUCHSAFE_TOKEN_FILE", info.TokenFile)
	run := func(want int, args ...string) string {
		t.Helper()
		var out, errOut bytes.Buffer
		if code := execute(t.Context(), args, nil, &out, &errOut); code != want {
			t.Fatalf("%s: exit code %d: %s%s", strings.Join(args, " "), code, &out, &errOut)
		}
		return errOut.String()
	}
	everywhere, here := filepath.Join(dir, "auditor.token"), filepath.Join(dir, "narrow.token")
	run(exitOK, "token", "create", "auditor", "--role", "auditor", "--namespace", "*", "--file", everywhere)
	run(exitOK, "token", "create", "narrow", "--role", "auditor", "--file", here)
	run(exitOK, "audit", "verify", "--token-file", everywhere)
	if said := run(exitNo, "audit", "verify", "--token-file", here); !strings.Contains(said, "namespace") {
		t.Errorf("an auditor of one namespace is told %q", said)
	}
	run(exitNo, "secret", "generate", "a/b", "--token-file", everywhere)
}
