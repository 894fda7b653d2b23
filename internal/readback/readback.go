// Package readback reads back, fast, JSON that encoding/json wrote from structs of this project's own: hundreds of thousands of records of decisions, of which the reader
// has just proved that they are as they were written.
//
// It is a short cut, and never another reading. What it takes by itself is only what encoding/json writes: no white space, members in the order of the struct's fields,
// each once at most and none that is unknown, numbers that are whole. A value that is anything more than plain, such as text with an escape, a map, or null, is
// given to the library that reads JSON strictly, github.com/go-json-experiment/json; and where so much as a byte is otherwise, the
// whole is. So the result is the library's, for every input: a fuzz test holds one against the other. The one exception is a value of type [Passed].
//
// The library takes some 130 ns for a member of an object, of which a record has a hundred and more. Members that come in the order that is expected need no table of
// names and no list of those that were there, and take a fifth of that.
package readback

import (
	"reflect"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Passed is a value that is passed over. It has to have the form of JSON; whether a name is twice in it, or text is no good UTF-8, is seen only where the
// library reads the whole.
type Passed struct{}

// UnmarshalJSONFrom implements the library's json.UnmarshalerFrom.
func (*Passed) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	_, err := d.ReadValue()
	return err
}

// Reader reads values of type T. It is immutable, and safe for concurrent use.
type Reader[T any] struct {
	shape *shape
}

// New returns a Reader. Where T is not a struct all of whose fields are exported and have a name in their json tag, its speed is the library's.
func New[T any]() *Reader[T] {
	return &Reader[T]{shape: shapes{}.of(reflect.TypeFor[T]())}
}

// Unmarshal decodes data, one JSON value, into what into points to, of which nothing stays that was there. Errors are the library's. Nothing of data is kept.
func (r *Reader[T]) Unmarshal(data []byte, into *T) error {
	if r.quick(data, into) {
		return nil
	}
	*into = *new(T)
	return json.Unmarshal(data, into)
}

// quick reports whether data was plain enough to be read here.
func (r *Reader[T]) quick(data []byte, into *T) bool {
	*into = *new(T)
	s := scan{data: data}
	return s.value(r.shape, reflect.ValueOf(into).Elem(), 0) && s.at == len(data)
}
