package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
)

// kbsReference is one reference value as the reference server's provider has kept it, in its several versions.
type kbsReference struct {
	Name       string          `json:"name"`
	Value      json.RawMessage `json:"value"`
	Hashes     []kbsHash       `json:"hash-value"`
	Expired    string          `json:"expired"`
	Expiration string          `json:"expiration"`
}

type kbsHash struct {
	Algorithm string `json:"alg"`
	Value     string `json:"value"`
}

// put returns the value to set.
func (r *kbsReference) put() (v wire.RegoReferencePut, err error) {
	switch {
	case r.Value != nil && r.Hashes != nil:
		return v, errors.New("it has both a value and hashes")
	case r.Value != nil:
		v.Value = r.Value
	case r.Hashes != nil:
		values := []string{}
		for _, h := range r.Hashes {
			values = append(values, h.Value)
		}
		if v.Value, err = json.Marshal(values); err != nil {
			return v, err
		}
	default:
		return v, errors.New("it has neither a value nor hashes")
	}
	if r.Expired != "" && r.Expiration != "" && r.Expired != r.Expiration {
		return v, errors.New("it expires at two times")
	}
	if until := r.Expired + strings.TrimPrefix(r.Expiration, r.Expired); until != "" {
		if v.Expires, err = time.Parse(time.RFC3339, until); err != nil {
			return v, fmt.Errorf("it expires at %.40q, which is no time", until)
		}
	}
	return v, nil
}

// parseKBSReferences reads a file of reference values: a list of records, one record with a name, or an object of records or plain values by name. What is
// wrong with one of them is in the list of problems, by its name.
func parseKBSReferences(text []byte) (values map[string]wire.RegoReferencePut, problems []string, err error) {
	values = map[string]wire.RegoReferencePut{}
	add := func(name string, r *kbsReference) {
		v, err := r.put()
		switch {
		case err != nil:
			problems = append(problems, fmt.Sprintf("the reference value %.64q: %v", name, err))
		case name == "":
			problems = append(problems, "a reference value has no name")
		case values[name].Value != nil:
			problems = append(problems, fmt.Sprintf("the reference value %.64q is there twice", name))
		default:
			values[name] = v
		}
	}
	trimmed := bytes.TrimLeft(text, " \t\r\n")
	if bytes.HasPrefix(trimmed, []byte("[")) {
		var list []kbsReference
		if err := json.Unmarshal(text, &list); err != nil {
			return nil, nil, errors.New("it is no list of reference values")
		}
		for i := range list {
			add(list[i].Name, &list[i])
		}
		return values, problems, nil
	}
	var members map[string]json.RawMessage
	if !bytes.HasPrefix(trimmed, []byte("{")) || json.Unmarshal(text, &members) != nil {
		return nil, nil, errors.New("it is neither a list of reference values nor an object")
	}
	if record, ok := recordOf(text, members); ok && record.Name != "" {
		add(record.Name, record)
		return values, problems, nil
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		var inner map[string]json.RawMessage
		if json.Unmarshal(members[name], &inner) == nil {
			if record, ok := recordOf(members[name], inner); ok {
				add(name, record)
				continue
			}
		}
		add(name, &kbsReference{Value: members[name]})
	}
	return values, problems, nil
}

// recordOf reads an object as a record, when it is one: a value that is an object of other members is not.
func recordOf(text []byte, members map[string]json.RawMessage) (*kbsReference, bool) {
	if members["version"] == nil || members["value"] == nil && members["hash-value"] == nil {
		return nil, false
	}
	r := &kbsReference{}
	return r, json.Unmarshal(text, r) == nil
}

// referenceFile reads a file of reference values.
func (i *importing) referenceFile(name string) {
	text, ok := i.read(name, maxReferenceFile)
	if !ok {
		return
	}
	values, problems, err := parseKBSReferences(text)
	if err != nil {
		i.left(name, "%v", err)
		return
	}
	for _, p := range problems {
		i.left(name, "%s", p)
	}
	for _, id := range slices.Sorted(maps.Keys(values)) {
		v := values[id]
		if _, twice := i.values[id]; twice {
			i.left(name, "the reference value %.64q is in another file too", id)
			continue
		}
		i.values[id] = v
		action := "written"
		if old, there := i.references[id]; there && sameJSON(old.Value, v.Value) && old.Expires.Equal(v.Expires) {
			action = "unchanged"
			delete(i.values, id)
		}
		i.done("reference-value", id, name, action, "")
	}
}

func sameJSON(a, b []byte) bool {
	var x, y bytes.Buffer
	return json.Compact(&x, a) == nil && json.Compact(&y, b) == nil && bytes.Equal(x.Bytes(), y.Bytes())
}

// putReferences sets the values that were read, some hundred at once.
func (i *importing) putReferences(ctx context.Context) error {
	if i.dry {
		return nil
	}
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(i.values)), 200) {
		in := wire.RegoReferencesPut{Values: map[string]wire.RegoReferencePut{}}
		for _, id := range ids {
			in.Values[id] = i.values[id]
		}
		if err := i.broker.PutRegoReferences(ctx, in); err != nil {
			return fmt.Errorf("reference values: %w", err)
		}
	}
	return nil
}
