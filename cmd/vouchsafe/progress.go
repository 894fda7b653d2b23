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

// promptFor tells a person that the program waits for them, when what it reads is a terminal.
func (p *program) promptFor(file, what string) {
	in, ok := p.in.(*os.File)
	if file == "-" && ok && term.IsTerminal(int(in.Fd())) {
		fmt.Fprintf(p.errOut, "Reading %s from the terminal; end it with Ctrl-D (twice after text without a line break).\n", what)
	}
}
