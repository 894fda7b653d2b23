package rego

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// maxErrors is how many errors of one module are told; the rest tend to follow from them.
const maxErrors = 20

// Error is one thing that is wrong with a policy, and where.
type Error struct {
	Line    int    `json:"line,omitempty"`   // from 1; 0 of the whole module
	Column  int    `json:"column,omitempty"` // from 1, in bytes
	Code    string `json:"code"`             // the engine's, such as rego_parse_error and rego_type_error; or vouchsafe_limit
	Message string `json:"message"`
}

// Error implements error.
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Message
	}
	return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Message)
}

// Problems is everything that is wrong with a module. It is what [Compile] returns.
type Problems struct {
	Name string
	List []*Error // in the order of their places; never empty
}

// Error implements error: the first problem, and how many more there are.
func (p *Problems) Error() string {
	text := p.Name + ":" + p.List[0].Error()
	if more := len(p.List) - 1; more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	return text
}

// codeLimit is the code of what this package refuses itself.
const codeLimit = "vouchsafe_limit"

func refuse(name string, line, column int, format string, args ...any) *Problems {
	return &Problems{name, []*Error{{line, column, codeLimit, fmt.Sprintf(format, args...)}}}
}

// problems returns the engine's errors as Problems.
func problems(name string, err error) *Problems {
	var (
		list ast.Errors
		one  *ast.Error
	)
	out := &Problems{Name: name}
	switch {
	case errors.As(err, &list):
		for _, e := range list {
			out.List = append(out.List, problem(e))
		}
	case errors.As(err, &one):
		out.List = append(out.List, problem(one))
	}
	if len(out.List) == 0 {
		out.List = append(out.List, &Error{Code: ast.CompileErr, Message: err.Error()})
	}
	slices.SortStableFunc(out.List, func(a, b *Error) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	out.List = out.List[:min(len(out.List), maxErrors)]
	return out
}

func problem(e *ast.Error) *Error {
	out := &Error{Code: e.Code, Message: e.Message}
	if e.Location != nil {
		out.Line, out.Column = e.Location.Row, e.Location.Col
	}
	// An unknown function may be one that is not to be had here, which the engine cannot know.
	if name, found := strings.CutPrefix(e.Message, "undefined function "); found && ast.BuiltinMap[name] != nil {
		out.Message = name + " is not to be had here: it reaches outside, is not deterministic or cannot be bounded"
	}
	return out
}
