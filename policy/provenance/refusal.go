package provenance

import "fmt"

// Reason says in which way a statement failed. The values are stable: they are told to whoever imports.
type Reason string

// The reasons, in the order in which a statement is looked at.
const (
	ReasonMalformed  Reason = "malformed"       // not what its format says, or over a limit
	ReasonKey        Reason = "wrong_key"       // no configured key made any of its signatures
	ReasonPredicate  Reason = "wrong_predicate" // neither SLSA provenance v0.2 nor v1
	ReasonSet        Reason = "wrong_set"       // the key may not speak for this set of reference values, or sign images
	ReasonBuilder    Reason = "wrong_builder"
	ReasonRepository Reason = "wrong_repository"
	ReasonRef        Reason = "wrong_ref"
	ReasonWorkflow   Reason = "wrong_workflow"
	ReasonExpired    Reason = "expired"        // older than the key's statements may be
	ReasonFuture     Reason = "not_yet"        // made after now
	ReasonValidity   Reason = "key_not_valid"  // made when its key was not valid
	ReasonSubject    Reason = "wrong_subject"  // it says nothing of the set
	ReasonArtefact   Reason = "wrong_artefact" // it is about another artefact, or another value, than what is imported
)

// Refusal is why a statement is not believed.
type Refusal struct {
	Reason Reason
	Detail string // for whoever imports: what was found, and what would be right
}

// Error implements error.
func (r *Refusal) Error() string { return string(r.Reason) + ": " + r.Detail }

func refuse(reason Reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

func malformed(format string, args ...any) *Refusal { return refuse(ReasonMalformed, format, args...) }
