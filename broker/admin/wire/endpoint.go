package wire

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/internal/strictjson"
	"github.com/vouchsafe/vouchsafe/policy"
)

// Operation is an endpoint without its types.
type Operation struct {
	ID      string // unique; the client's method
	Method  string
	Path    string // as http.ServeMux has it: {name} is a segment, {name...} the rest
	Summary string

	Roles      []access.Role // any one of them may; none: anybody, without a token
	Everywhere bool          // the role must be held in all namespaces

	Limit int64  // bytes of the request body; DefaultLimit when 0
	Media string // of the answer, which is []byte then; JSON when ""
}

// DefaultLimit bounds the bodies of requests that have names and numbers only, in bytes.
const DefaultLimit = 64 << 10

// Endpoint is one operation, which takes In and answers Out.
type Endpoint[In, Out any] struct{ Operation }

// None is the input or answer of an operation that has none. As an answer it is an empty JSON object.
type None struct{}

// Error is what every answer but 200 holds.
type Error struct {
	Code       broker.Code      `json:"code" doc:"stable and machine-readable"`
	Message    string           `json:"message" doc:"for people"`
	Decision   string           `json:"decision,omitempty" doc:"id of the recorded decision"`
	RetryAfter int              `json:"retry_after,omitempty" doc:"seconds, as in the header Retry-After"`
	Problems   []policy.Problem `json:"problems,omitempty" doc:"what is wrong with a policy document, in the order of its lines"`
}

// Page asks for a page of a listing.
type Page struct {
	After string `json:"-" query:"after" doc:"the next of the page before"`
	Limit int    `json:"-" query:"limit" doc:"at most this many, 1 to 1000; 1000 when absent"`
}

// List is a page of a listing.
type List[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty" doc:"after for the next page; absent when there is none"`
}

// HasBody reports whether inputs of type t have members of a JSON body.
func HasBody(t reflect.Type) bool {
	for _, f := range reflect.VisibleFields(t) {
		if !f.Anonymous && f.IsExported() && f.Tag.Get("json") != "-" {
			return true
		}
	}
	return false
}

// Target returns path with the path and query fields of in, a struct, filled in.
func Target(path string, in any) (string, error) {
	v := reflect.ValueOf(in)
	query := url.Values{}
	for _, f := range reflect.VisibleFields(v.Type()) {
		value := v.FieldByIndex(f.Index)
		if name := f.Tag.Get("path"); name != "" {
			text := fmt.Sprint(value)
			var escaped string
			whole := "{" + name + "...}"
			if strings.Contains(path, whole) {
				segments := strings.Split(text, "/")
				for i, s := range segments {
					segments[i] = url.PathEscape(s)
				}
				escaped = strings.Join(segments, "/")
			} else {
				whole, escaped = "{"+name+"}", url.PathEscape(text)
			}
			// A server would take such a path for another one.
			for s := range strings.SplitSeq(text, "/") {
				if s == "" || s == "." || s == ".." {
					return "", fmt.Errorf("%s %q is empty, or has an empty or relative part", name, text)
				}
			}
			path = strings.ReplaceAll(path, whole, escaped)
		}
		if name := f.Tag.Get("query"); name != "" && !value.IsZero() {
			text := fmt.Sprint(value)
			if at, ok := value.Interface().(time.Time); ok {
				text = at.UTC().Format(time.RFC3339Nano)
			}
			query.Set(name, text)
		}
	}
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return path, nil
}

// Decode fills in, a pointer to a struct, from a request whose path matched the endpoint's and whose body is given. Its errors say what is wrong
// and hold no values.
func Decode(r *http.Request, body []byte, in any) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return errors.New("the query string is malformed")
	}
	v := reflect.ValueOf(in).Elem()
	if HasBody(v.Type()) {
		// null would decode into nothing.
		if trimmed := strings.TrimLeft(string(body[:min(len(body), 64)]), " \t\r\n"); !strings.HasPrefix(trimmed, "{") {
			return errors.New("the body is not a JSON object")
		}
		if err := strictjson.Unmarshal(body, in); err != nil {
			return fmt.Errorf("the body: %w", err)
		}
	} else if len(body) > 0 {
		return errors.New("there is a body, where none is expected")
	}
	for _, f := range reflect.VisibleFields(v.Type()) {
		if name := f.Tag.Get("path"); name != "" {
			if err := set(v.FieldByIndex(f.Index), r.PathValue(name)); err != nil {
				return fmt.Errorf("%s in the path: %w", name, err)
			}
		}
		name := f.Tag.Get("query")
		values, there := query[name]
		if name == "" || !there {
			continue
		}
		if len(values) != 1 {
			return fmt.Errorf("query parameter %s is there twice", name)
		}
		if err := set(v.FieldByIndex(f.Index), values[0]); err != nil {
			return fmt.Errorf("query parameter %s: %w", name, err)
		}
		delete(query, name)
	}
	for name := range query {
		return fmt.Errorf("query parameter %.32q is not known here", name)
	}
	return nil
}

func set(field reflect.Value, text string) error {
	if field.Type() == reflect.TypeFor[time.Time]() {
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return errors.New("not a time such as 2026-01-31T12:00:00Z")
		}
		field.Set(reflect.ValueOf(at))
		return nil
	}
	switch field.Kind() {
	case reflect.String:
		field.SetString(text)
	case reflect.Uint64:
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil || strconv.FormatUint(n, 10) != text {
			return errors.New("not a number")
		}
		field.SetUint(n)
	case reflect.Int:
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || strconv.Itoa(n) != text {
			return errors.New("not a number")
		}
		field.SetInt(int64(n))
	default:
		return fmt.Errorf("a field of type %s cannot be sent there", field.Type()) // a mistake in the table, which its test finds
	}
	return nil
}
