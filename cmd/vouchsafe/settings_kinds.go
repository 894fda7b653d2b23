package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/token"
)

// kindName is a kind of evidence that a production server can verify.
type kindName attest.Kind

// UnmarshalYAML reads the name of a kind. One that is not known, or proves nothing about hardware, is an error with its line.
func (k *kindName) UnmarshalYAML(node *yaml.Node) error {
	known := productionKinds()
	if node.Kind != yaml.ScalarNode {
		return &lineError{node.Line, "kinds is a list of names: " + joinKinds(known)}
	}
	kind := attest.Kind(node.Value)
	switch {
	case kind.Development():
		return &lineError{node.Line, fmt.Sprintf("%s evidence proves nothing about hardware: only \"vouchsafe dev\" takes it", kind)}
	case !slices.Contains(known, kind):
		return &lineError{node.Line, fmt.Sprintf("there is no kind %.40q; did you mean %s? There are %s", node.Value, nearest(node.Value, known), joinKinds(known))}
	}
	*k = kindName(kind)
	return nil
}

// lineError says what is wrong with a line of settings.
type lineError struct {
	line int
	text string
}

func (e *lineError) Error() string { return fmt.Sprintf("%d: %s", e.line, e.text) }

// productionKinds are those that a server can be told to verify.
func productionKinds() []attest.Kind {
	return slices.DeleteFunc(attest.Kinds(), attest.Kind.Development)
}

func joinKinds(kinds []attest.Kind) string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = string(k)
	}
	return strings.Join(names, ", ")
}

// nearest returns the kind whose name takes the fewest changes of a letter to make of a text.
func nearest(text string, kinds []attest.Kind) attest.Kind {
	text = strings.ToLower(text[:min(len(text), 40)])
	return slices.MinFunc(kinds, func(a, b attest.Kind) int { return distance(text, string(a)) - distance(text, string(b)) })
}

// distance is how many letters must be added, removed or replaced to make one text of another.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

type ccaSettings struct {
	TrustAnchors    string `yaml:"trust_anchors"`
	ReferenceValues string `yaml:"reference_values"`
}

type nvidiaSettings struct {
	AllowUnmeasured bool `yaml:"allow_unmeasured"`
}

type tokenSettings struct {
	KeySetAge   time.Duration           `yaml:"key_set_age"`
	KeySetGrace time.Duration           `yaml:"key_set_grace"`
	Verifiers   []tokenVerifierSettings `yaml:"verifiers"`
}

type tokenVerifierSettings struct {
	Name      string        `yaml:"name"`
	Format    string        `yaml:"format"`
	Issuer    string        `yaml:"issuer"`
	Audiences []string      `yaml:"audiences"`
	KeysFile  string        `yaml:"keys_file"`
	RootsFile string        `yaml:"roots_file"`
	JWKSURL   string        `yaml:"jwks_url"`
	Discovery bool          `yaml:"discovery"`
	JWKSHosts []string      `yaml:"jwks_hosts"`
	MaxAge    time.Duration `yaml:"max_age"`
	Passport  bool          `yaml:"passport"`
}

// verified returns the kinds that the settings have verified: those that they name, or else all that need no anchors of the operator's and those whose anchors
// are there. That kinds and what is configured go together is said by package verifiers. Se is never among those by itself: no evidence of it can be verified, so that all of it is refused either way.
func (s *settings) verified() ([]attest.Kind, error) {
	var kinds []attest.Kind
	for _, k := range s.Kinds {
		kinds = append(kinds, attest.Kind(k))
	}
	if s.Kinds != nil && len(kinds) == 0 {
		return nil, errors.New("kinds is empty, so that no evidence could be accepted: name some, or leave it out")
	}
	machines := s.Tokens.machines()
	if kinds == nil {
		for _, k := range productionKinds() {
			switch {
			case k == attest.SE, k == attest.CCA && s.CCA.TrustAnchors == "", k == attest.Token && !machines:
			default:
				kinds = append(kinds, k)
			}
		}
		return kinds, nil
	}
	switch {
	case slices.Contains(kinds, attest.CCA) && s.CCA.TrustAnchors == "":
		return nil, errors.New("kinds names cca, whose platforms' keys nobody publishes: cca.trust_anchors needs the file with those you trust")
	case slices.Contains(kinds, attest.Token) && !machines:
		return nil, errors.New("kinds names token, and tokens.verifiers names no verifier whose tokens of machines count")
	}
	return kinds, nil
}

// machines reports whether tokens of machines count.
func (s *tokenSettings) machines() bool {
	return slices.ContainsFunc(s.Verifiers, func(v tokenVerifierSettings) bool { return token.Format(v.Format) != token.NVIDIARemote })
}

// files are the settings that name a file.
func (s *tokenSettings) files() []*string {
	var files []*string
	for i := range s.Verifiers {
		files = append(files, &s.Verifiers[i].KeysFile, &s.Verifiers[i].RootsFile)
	}
	return files
}
