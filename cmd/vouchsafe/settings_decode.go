package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// decodeSettings reads YAML into s, a pointer to a struct with yaml tags. What is wrong is said with its line, as "LINE: …".
func decodeSettings(text []byte, s any) error {
	d := yaml.NewDecoder(bytes.NewReader(text))
	var document yaml.Node
	switch err := d.Decode(&document); {
	case errors.Is(err, io.EOF): // an empty file says nothing
		return nil
	case err != nil:
		return fmt.Errorf(" %w", err)
	}
	var more yaml.Node
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%d: settings are one YAML document, and there is more after it", max(more.Line, 1))
	}
	root := document.Content[0]
	if err := knownMembers(root, reflect.TypeOf(s).Elem(), ""); err != nil {
		return err
	}
	if err := root.Decode(s); err != nil {
		var wrong *yaml.TypeError
		if errors.As(err, &wrong) {
			// Each begins with "line N: ".
			return errors.New(strings.TrimPrefix(strings.Join(wrong.Errors, "\n"), "line "))
		}
		var line *lineError
		if errors.As(err, &line) {
			return line
		}
		return fmt.Errorf(" %w", err)
	}
	return nil
}

// knownMembers refuses a member that a struct does not have, with those that it has, and one that is there twice. It also refuses what YAML
// would let slip through: aliases and merges.
func knownMembers(node *yaml.Node, t reflect.Type, path string) error {
	switch {
	case node.Kind == yaml.AliasNode:
		return fmt.Errorf("%d: write it out: aliases are not read here", node.Line)
	case t.Kind() == reflect.Slice && node.Kind == yaml.SequenceNode:
		for i, item := range node.Content {
			if err := knownMembers(item, t.Elem(), fmt.Sprintf("%s[%d].", strings.TrimSuffix(path, "."), i)); err != nil {
				return err
			}
		}
		return nil
	case t.Kind() == reflect.Map && node.Tag == "!!null":
		// That nothing is listed must not be as if there were no list.
		return fmt.Errorf("%d: %s has nothing in it: leave it out, or say {}", node.Line, orTop(path))
	case t.Kind() != reflect.Struct && t.Kind() != reflect.Map || node.Tag == "!!null":
		return nil
	case node.Kind != yaml.MappingNode:
		return fmt.Errorf("%d: %s holds no members", node.Line, orTop(path))
	}
	seen := map[string]bool{}
	for i := 0; i < len(node.Content); i += 2 {
		name, value := node.Content[i], node.Content[i+1]
		if seen[name.Value] {
			return fmt.Errorf("%d: %s is there twice", name.Line, path+name.Value)
		}
		seen[name.Value] = true
		member := t
		if t.Kind() == reflect.Map {
			member = t.Elem()
		} else {
			field, ok := memberNamed(t, name.Value)
			if !ok {
				return fmt.Errorf("%d: %s has no member %q; it may have %s", name.Line, orTop(path), name.Value, members(t))
			}
			member = field.Type
		}
		if err := knownMembers(value, member, path+name.Value+"."); err != nil {
			return err
		}
	}
	return nil
}

// orTop names what a path is of.
func orTop(path string) string {
	if path == "" {
		return "the file"
	}
	return strings.TrimSuffix(path, ".")
}

func memberNamed(t reflect.Type, name string) (reflect.StructField, bool) {
	for _, f := range reflect.VisibleFields(t) {
		if f.Tag.Get("yaml") == name {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

// members lists what a struct may have.
func members(t reflect.Type) string {
	var all []string
	for _, f := range reflect.VisibleFields(t) {
		all = append(all, f.Tag.Get("yaml"))
	}
	return strings.Join(all, ", ")
}
