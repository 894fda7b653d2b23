package main

import "github.com/vouchsafe/vouchsafe/attest"

// row is what is said of one kind.
type row struct {
	kind     attest.Kind
	page     string // below docs/evidence, or ""
	hardware string
	forms    string
	verified string
	not      string
	tests    []string // "package Test", from the project's root
}

// vector is one piece of real evidence and what it must give.
type vector struct {
	name    string // what is judged, below the folder of vectors or in words
	kind    string
	module  string // the module it is from; "" for the folder of vectors
	verdict string
}

var rows []row

var vectors []vector
