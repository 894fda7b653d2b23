// Testbroker is the process that the tests of package node kill, starve and abuse: a whole development broker on the folder that is its only
// argument. It prints its URL once it serves, and ends on SIGTERM, or when its standard input does because the test is gone.
//
// It is a program of its own, and not a copy of the test, so that what it holds and how long it takes is what a broker does, also
// when the tests run with the race detector.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/vouchsafe/vouchsafe/broker/dev"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: testbroker FOLDER")
		os.Exit(2)
	}
	if err := serve(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(dir string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	n, info, err := dev.Start(ctx, dev.Config{Dir: dir, Listen: "127.0.0.1:0", Logger: logger})
	if err != nil {
		return err
	}
	fmt.Println(info.URL)
	return errors.Join(n.Run(ctx), n.Close())
}
