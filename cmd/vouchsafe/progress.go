package main

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/term"
)

// progress returns a function that tells a person how far long work is, once a second, when errors go to a terminal.
func (p *program) progress(what string) func(done uint64) {
	file, ok := p.errOut.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return func(uint64) {}
	}
	last := time.Now()
	return func(done uint64) {
		if time.Since(last) >= time.Second {
			last = time.Now()
			fmt.Fprintf(p.errOut, "\r%d %s ", done, what)
		}
	}
}
