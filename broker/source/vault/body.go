package vault

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/vouchsafe/vouchsafe/broker/source"
	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// maxBodyDepth bounds the nesting of a body.
const maxBodyDepth = 8

// node is a JSON value whose texts are templates.
type node struct {
	raw      json.RawMessage // of numbers, truth values and null
	text     *source.Template
	members  map[string]*node
	elements []*node
	isList   bool
}

// parseBody reads the body of a write; none is an empty object.
func parseBody(raw json.RawMessage, secret string) (*node, error) {
	if len(raw) == 0 {
		return &node{members: map[string]*node{}}, nil
	}
	n, err := parseNode(raw, secret, "body", 0)
	if err == nil && n.members == nil {
		err = errors.New("body: it is no object")
	}
	return n, err
}

func parseNode(raw json.RawMessage, secret, at string, depth int) (*node, error) {
	if depth > maxBodyDepth {
		return nil, fmt.Errorf("%.100s: it nests over %d deep", at, maxBodyDepth)
	}
	switch raw[0] {
	case '{':
		members, err := strictjson.Object(raw)
		if err != nil {
			return nil, fmt.Errorf("%.100s: %w", at, err)
		}
		n := &node{members: make(map[string]*node, len(members))}
		for name, value := range members {
			if n.members[name], err = parseNode(value, secret, at+"."+name, depth+1); err != nil {
				return nil, err
			}
		}
		return n, nil
	case '[':
		var elements []json.RawMessage
		if err := json.Unmarshal(raw, &elements); err != nil {
			return nil, fmt.Errorf("%.100s: %w", at, err)
		}
		n := &node{isList: true}
		for i, value := range elements {
			element, err := parseNode(value, secret, at+"["+strconv.Itoa(i)+"]", depth+1)
			if err != nil {
				return nil, err
			}
			n.elements = append(n.elements, element)
		}
		return n, nil
	case '"':
		text, err := strictjson.String(raw)
		if err != nil {
			return nil, fmt.Errorf("%.100s: %w", at, err)
		}
		t, err := source.Parse(text, secret)
		if err == nil {
			err = t.CheckApart()
		}
		if err != nil {
			return nil, fmt.Errorf("%.100s: %w", at, err)
		}
		return &node{text: t}, nil
	}
	return &node{raw: raw}, nil
}

// render fills a body in. Its errors are *source.Refusal.
func (n *node) render(r source.Request) (any, error) {
	switch {
	case n.text != nil:
		return n.text.Render(r)
	case n.members != nil:
		object := make(map[string]any, len(n.members))
		for name, value := range n.members {
			rendered, err := value.render(r)
			if err != nil {
				return nil, err
			}
			object[name] = rendered
		}
		return object, nil
	case n.isList:
		list := make([]any, len(n.elements))
		for i, value := range n.elements {
			rendered, err := value.render(r)
			if err != nil {
				return nil, err
			}
			list[i] = rendered
		}
		return list, nil
	}
	return n.raw, nil
}
