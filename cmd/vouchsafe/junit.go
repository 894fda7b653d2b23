package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/vouchsafe/vouchsafe/internal/atomicfile"
)

// junitSuite is one suite of a report in the XML of JUnit, which CI systems read: a file, with what was tested of it.
type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	File    string        `xml:"file,attr,omitempty"`
	Line    int           `xml:"line,attr,omitempty"`
	Failure *junitFailure `xml:"failure"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// add appends a case; why is "" of one that passed.
func (s *junitSuite) add(name, file string, line int, why string) {
	c := junitCase{Name: plain(name), Class: s.Name, File: file, Line: line}
	if why != "" {
		first, _, _ := strings.Cut(why, "\n")
		c.Failure = &junitFailure{Message: plain(first), Text: plain(fmt.Sprintf("%s:%d: %s", file, line, why))}
		s.Failures++
	}
	s.Tests++
	s.Cases = append(s.Cases, c)
}

// writeJUnit writes a report to a file, or to out for "-".
func writeJUnit(file string, out io.Writer, suites []junitSuite) error {
	report := struct {
		XMLName xml.Name     `xml:"testsuites"`
		Suites  []junitSuite `xml:"testsuite"`
	}{Suites: suites}
	text, err := xml.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	text = append([]byte(xml.Header), append(text, '\n')...)
	if file == "-" {
		_, err = out.Write(text)
		return err
	}
	return atomicfile.Write(file, text, 0o644)
}
