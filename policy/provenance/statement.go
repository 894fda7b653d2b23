package provenance

import (
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/vouchsafe/vouchsafe/internal/strictjson"
)

// SubjectPrefix begins the name under which a statement has a value for a set: "reference:SET".
const SubjectPrefix = "reference:"

// The types that are known.
const (
	statementV01 = "https://in-toto.io/Statement/v0.1"
	statementV1  = "https://in-toto.io/Statement/v1"
	slsaV02      = "https://slsa.dev/provenance/v0.2"
	slsaV1       = "https://slsa.dev/provenance/v1"
)

// maxSubjects bounds the subjects and by-products of a statement: a thousand values can be put at once.
const maxSubjects = 1000

// maxMember bounds each text that is kept of a statement, in bytes, so that a set of values stays small.
const maxMember = 512

type statement struct {
	Type          string          `json:"_type"`
	Subject       []descriptor    `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

type descriptor struct {
	Name   string            `json:"name"`
	URI    string            `json:"uri"`
	Digest map[string]string `json:"digest"`
}

type predicateV02 struct {
	Builder    builder `json:"builder"`
	Invocation struct {
		ConfigSource struct {
			URI        string            `json:"uri"`
			Digest     map[string]string `json:"digest"`
			EntryPoint string            `json:"entryPoint"`
		} `json:"configSource"`
	} `json:"invocation"`
	Metadata struct {
		BuildFinishedOn time.Time `json:"buildFinishedOn"`
	} `json:"metadata"`
}

type predicateV1 struct {
	BuildDefinition struct {
		ExternalParameters   json.RawMessage `json:"externalParameters"`
		ResolvedDependencies []descriptor    `json:"resolvedDependencies"`
	} `json:"buildDefinition"`
	RunDetails struct {
		Builder  builder `json:"builder"`
		Metadata struct {
			FinishedOn time.Time `json:"finishedOn"`
		} `json:"metadata"`
		Byproducts []descriptor `json:"byproducts"`
	} `json:"runDetails"`
}

type builder struct {
	ID string `json:"id"`
}

// parameters are those of the build types of GitHub Actions.
type parameters struct {
	Workflow struct {
		Ref        string `json:"ref"`
		Repository string `json:"repository"`
		Path       string `json:"path"`
	} `json:"workflow"`
}

// said is what a statement says, before it is held against a key.
type said struct {
	builder, repository, ref, workflow, commit string
	predicate                                  string
	time                                       time.Time
	subjects, values                           []descriptor // values also has by-products
}

// read reads a statement. Members that are not known are passed over, as in-toto has it; one that is there twice or in other letters is refused.
func read(payload []byte) (said, *Refusal) {
	var s statement
	if err := strictjson.UnmarshalNewer(payload, &s); err != nil {
		return said{}, malformed("not an in-toto statement: %v", err)
	}
	if s.Type != statementV01 && s.Type != statementV1 {
		return said{}, malformed("the statement has the type %.64q, not %q or %q", s.Type, statementV1, statementV01)
	}
	if len(s.Subject) == 0 || len(s.Subject) > maxSubjects {
		return said{}, malformed("the statement has %d subjects, not 1 to %d", len(s.Subject), maxSubjects)
	}
	out := said{predicate: s.PredicateType, subjects: s.Subject, values: s.Subject}
	var refusal *Refusal
	switch s.PredicateType {
	case slsaV02:
		refusal = out.readV02(s.Predicate)
	case slsaV1:
		refusal = out.readV1(s.Predicate)
	default:
		return said{}, refuse(ReasonPredicate, "the predicate is %.64q, not %q or %q", s.PredicateType, slsaV1, slsaV02)
	}
	if refusal != nil {
		return said{}, refusal
	}
	for _, part := range []struct{ name, text string }{
		{"builder id", out.builder}, {"source repository", out.repository}, {"ref", out.ref}, {"commit", out.commit},
	} {
		if part.text == "" {
			return said{}, malformed("the provenance does not say the %s", part.name)
		}
	}
	for _, text := range []string{out.builder, out.repository, out.ref, out.commit, out.workflow} {
		if len(text) > maxMember {
			return said{}, malformed("a text of the provenance has %d bytes, more than %d", len(text), maxMember)
		}
	}
	if _, err := hex.DecodeString(out.commit); err != nil || len(out.commit) != 40 && len(out.commit) != 64 || out.commit != strings.ToLower(out.commit) {
		return said{}, malformed("the commit %.64q is not 40 or 64 digits of lower-case hex", out.commit)
	}
	if out.time.IsZero() {
		return said{}, malformed("the provenance does not say when the build was finished")
	}
	if year := out.time.Year(); year < 1 || year > 9999 {
		return said{}, malformed("the build was finished in the year %d", year)
	}
	return out, nil
}

func (s *said) readV02(predicate []byte) *Refusal {
	var p predicateV02
	if err := strictjson.UnmarshalNewer(predicate, &p); err != nil {
		return malformed("not SLSA provenance v0.2: %v", err)
	}
	source := p.Invocation.ConfigSource
	s.builder, s.workflow, s.time = p.Builder.ID, source.EntryPoint, p.Metadata.BuildFinishedOn.UTC()
	s.repository, s.ref = splitSource(source.URI)
	if s.commit = source.Digest["sha1"]; s.commit == "" {
		s.commit = source.Digest["gitCommit"]
	}
	return nil
}

func (s *said) readV1(predicate []byte) *Refusal {
	var p predicateV1
	if err := strictjson.UnmarshalNewer(predicate, &p); err != nil {
		return malformed("not SLSA provenance v1: %v", err)
	}
	var external parameters
	if len(p.BuildDefinition.ExternalParameters) > 0 {
		if err := strictjson.UnmarshalNewer(p.BuildDefinition.ExternalParameters, &external); err != nil {
			return malformed("the external parameters are not an object whose workflow is one: %v", err)
		}
	}
	if len(p.RunDetails.Byproducts) > maxSubjects {
		return malformed("the provenance has %d by-products, more than %d", len(p.RunDetails.Byproducts), maxSubjects)
	}
	s.builder, s.time = p.RunDetails.Builder.ID, p.RunDetails.Metadata.FinishedOn.UTC()
	s.repository, s.ref, s.workflow = external.Workflow.Repository, external.Workflow.Ref, external.Workflow.Path
	// The source's commit is that of the one dependency that is a commit of the repository. Where the parameters name no repository it is the only commit there is.
	for _, d := range p.BuildDefinition.ResolvedDependencies {
		commit := d.Digest["gitCommit"]
		if commit == "" {
			continue
		}
		repository, ref := splitSource(d.URI)
		named := external.Workflow
		if named.Repository != "" && (repository != named.Repository || ref != "" && named.Ref != "" && ref != named.Ref) {
			continue
		}
		if s.commit != "" {
			return malformed("the provenance has several commits that could be the source's")
		}
		s.repository, s.commit = repository, commit
		if s.ref == "" {
			s.ref = ref
		}
	}
	s.values = slices.Concat(s.subjects, p.RunDetails.Byproducts)
	return nil
}

// splitSource splits "git+https://host/repository@refs/heads/main".
func splitSource(uri string) (repository, ref string) {
	repository, ref, _ = strings.Cut(strings.TrimPrefix(uri, "git+"), "@")
	return repository, ref
}

// of returns the values for a set.
func (s *said) of(set string) ([]string, *Refusal) {
	var out []string
	for _, d := range s.values {
		if d.Name != SubjectPrefix+set {
			continue
		}
		if len(d.Digest) != 1 {
			return nil, malformed("%s has %d digests, not one", d.Name, len(d.Digest))
		}
		for algorithm, value := range d.Digest {
			if raw, err := hex.DecodeString(value); err != nil || len(raw) < 20 || len(raw) > 64 || value != strings.ToLower(value) {
				return nil, malformed("the digest %.32s of %s is not 20 to 64 bytes in lower-case hex", algorithm, d.Name)
			}
			if !slices.Contains(out, value) {
				out = append(out, value)
			}
		}
	}
	if len(out) == 0 {
		return nil, refuse(ReasonSubject, "the statement says nothing of the set %q: it has no subject %q", set, SubjectPrefix+set)
	}
	return out, nil
}

// isAbout reports whether an artefact, "sha256:" and hex, is a subject.
func (s *said) isAbout(artefact string) bool {
	algorithm, value, ok := strings.Cut(artefact, ":")
	return ok && value != "" && slices.ContainsFunc(s.subjects, func(d descriptor) bool { return d.Digest[algorithm] == value })
}
