package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/measure/ovmf"
	"github.com/vouchsafe/vouchsafe/attest/measure/pe"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
)

func (p *program) measureCommand() *cobra.Command {
	c := group("offline", "measure", "Say from a build what evidence of it will measure",
		p.measureSNP(), p.measureTDX(), p.measureTPM(), p.measureNitro())
	c.Long = `Say from what a build made what evidence of it will measure, before anything has run: the values that policies compare claims with. It
reads files only, and needs no broker, no network and no confidential hardware.

What it prints is as good as the files it was given: run it where the image is built, on what is shipped.`
	return c
}

// prediction is what evidence of a build will say.
type prediction struct {
	Kind    attest.Kind `json:"kind"`
	Values  []predicted `json:"values"`
	Unknown []unknown   `json:"unknown,omitempty"` // what could not be predicted
}

// predicted is a value of a claim.
type predicted struct {
	Claim string `json:"claim"`         // as policies write it
	Value string `json:"value"`         // lower-case hex
	For   string `json:"for,omitempty"` // under which circumstances, where there are several values
	set   string // what is put after the name of a reference set; "" for the claim that stands for the image
}

// unknown is a claim that could not be predicted.
type unknown struct {
	Claim string `json:"claim"`
	Why   string `json:"why"`
}

// referenceFlag adds the flag that all predictions have.
func referenceFlag(c *cobra.Command, name *string) {
	c.Flags().StringVar(name, "reference", "", "print what puts the values into reference sets, of which `NAME` is the first")
}

// print prints a prediction: as a table or JSON; or, with the name of a set, as what puts the values into reference sets.
func (pr *prediction) print(p *program, set string) error {
	if set != "" {
		return pr.printReferences(p, set)
	}
	if p.json() {
		return p.printJSON(pr)
	}
	err := p.table("CLAIM VALUE FOR", func(row func(...any)) {
		for _, v := range pr.Values {
			row(v.Claim, v.Value, orDash(v.For))
		}
	})
	if err != nil {
		return err
	}
	return pr.warn(p)
}

func (pr *prediction) warn(p *program) error {
	for _, u := range pr.Unknown {
		if err := p.warn(u.Claim + " is not predicted: " + u.Why); err != nil {
			return err
		}
	}
	return nil
}

// printReferences prints commands that put values into sets, or the bodies of the requests that do.
func (pr *prediction) printReferences(p *program, name string) error {
	var order []string
	sets := make(map[string][]predicted)
	for _, v := range pr.Values {
		set := name + v.set
		if _, seen := sets[set]; !seen {
			order = append(order, set)
		}
		if !slices.ContainsFunc(sets[set], func(other predicted) bool { return other.Value == v.Value }) { // a program can be loaded twice
			sets[set] = append(sets[set], v)
		}
	}
	if p.json() {
		type body struct {
			Name   string              `json:"name"`
			Values []wire.ReferencePut `json:"values"`
		}
		list := make([]body, 0, len(order))
		for _, set := range order {
			b := body{Name: set}
			for _, v := range sets[set] {
				b.Values = append(b.Values, wire.ReferencePut{Value: v.Value, Note: v.note()})
			}
			list = append(list, b)
		}
		return p.printJSON(list)
	}
	for _, set := range order {
		for _, v := range sets[set] {
			fmt.Fprintf(p.out, "vouchsafe reference put %s %s --note %s\n", shellWord(set), v.Value, shellWord(v.note()))
		}
	}
	return pr.warn(p)
}

func (v *predicted) note() string {
	if v.For == "" {
		return v.Claim
	}
	return v.Claim + " for " + v.For
}

// shellWord quotes a word for a shell, where it has to be.
func shellWord(text string) string {
	if text != "" && strings.Trim(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./=:,") == "" {
		return text
	}
	return "'" + strings.ReplaceAll(plain(text), "'", `'\''`) + "'"
}

// launch is what a hypervisor launches a guest with, by the flags that say so.
type launch struct{ firmware, kernel, initrd, line string }

func (l *launch) add(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&l.firmware, "ovmf", "", "firmware image `FILE`, as it is launched (required)")
	f.StringVar(&l.kernel, "kernel", "", "kernel `FILE` that the hypervisor hands over")
	f.StringVar(&l.initrd, "initrd", "", "initrd `FILE` that it hands over with it")
	f.StringVar(&l.line, "cmdline", "", "command line `TEXT` that it hands over with it")
	_ = c.MarkFlagRequired("ovmf") // the flag exists
}

// check refuses what would not be measured.
func (l *launch) check() error {
	if l.kernel == "" && (l.initrd != "" || l.line != "") {
		return errors.New("--initrd and --cmdline need --kernel: without it the firmware finds what to boot, and none of them is measured")
	}
	return nil
}

// readFirmware reads a firmware image.
func (p *program) readFirmware(path string) ([]byte, error) {
	return readInput(p.in, path, ovmf.MaxImage)
}

// withProgram calls f with a program of UEFI in a file.
func withProgram(path string, f func(program *pe.File) error) error {
	return withFile(path, func(file *os.File, size int64) error {
		program, err := pe.Parse(file, size)
		if err != nil {
			return err
		}
		return f(program)
	})
}

// withFile calls f with an open file and its size. Errors say which file.
func withFile(path string, f func(file *os.File, size int64) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file", path)
	}
	if err := f(file, info.Size()); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
