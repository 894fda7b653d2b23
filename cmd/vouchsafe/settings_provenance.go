package main

import (
	"fmt"
	"time"

	"github.com/vouchsafe/vouchsafe/policy/provenance"
)

// provenanceKey is a key that signs statements of reference values, and what it may say.
type provenanceKey struct {
	ID         string        `yaml:"id"`
	Key        string        `yaml:"key"`
	Sets       []string      `yaml:"sets"`
	Builders   []string      `yaml:"builders"`
	Repository string        `yaml:"repository"`
	Refs       []string      `yaml:"refs"`
	Workflows  []string      `yaml:"workflows"`
	Images     []string      `yaml:"images"`
	ImageSets  []string      `yaml:"image_sets"`
	NotBefore  time.Time     `yaml:"not_before"`
	NotAfter   time.Time     `yaml:"not_after"`
	MaxAge     time.Duration `yaml:"max_age"`
}

// provenanceFiles returns the paths of the files with keys.
func (s *settings) provenanceFiles() []*string {
	var files []*string
	for _, keys := range s.Provenance {
		for i := range keys {
			files = append(files, &keys[i].Key)
		}
	}
	return files
}

// provenanceKeys reads the keys of each namespace, and checks them before anything is made that would have to be taken away again.
func (s *settings) provenanceKeys() (map[string]provenance.Config, error) {
	all := make(map[string]provenance.Config, len(s.Provenance))
	for namespace, keys := range s.Provenance {
		var c provenance.Config
		for _, k := range keys {
			if k.Key == "" {
				return nil, fmt.Errorf("provenance.%s: the key %q names no file: say key", namespace, k.ID)
			}
			text, err := readInput(nil, k.Key, maxSettings)
			if err != nil {
				return nil, err
			}
			public, err := provenance.ParseKey(text)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", k.Key, err)
			}
			c.Keys = append(c.Keys, provenance.Key{
				ID: k.ID, Public: public, Sets: k.Sets, Builders: k.Builders, Repository: k.Repository, Refs: k.Refs, Workflows: k.Workflows,
				Images: k.Images, ImageSets: k.ImageSets, NotBefore: k.NotBefore, NotAfter: k.NotAfter, MaxAge: k.MaxAge,
			})
		}
		if err := c.Check(); err != nil {
			return nil, fmt.Errorf("provenance.%s: %w", namespace, err)
		}
		all[namespace] = c
	}
	return all, nil
}
