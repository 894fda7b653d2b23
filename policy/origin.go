package policy

// Origin is where a reference value comes from, as a statement said that was verified when the value was imported. It is recorded with decisions that
// the value led to, so that they name the source and the commit of what a secret was given to. Members that a statement did not say are empty.
type Origin struct {
	Statement  string `json:"statement"`            // "sha256:" and hex of what was signed
	Key        string `json:"key"`                  // the operator's name of the key that signed it
	Builder    string `json:"builder,omitempty"`    // SLSA builder.id
	Repository string `json:"repository,omitempty"` // URI of the source
	Workflow   string `json:"workflow,omitempty"`   // path in it
	Ref        string `json:"ref,omitempty"`        // "refs/heads/main"
	Commit     string `json:"commit,omitempty"`     // hex
	Image      string `json:"image,omitempty"`      // docker reference of a signed image
}

// Origins is implemented by [Values] that know where some of their values come from.
type Origins interface {
	// Origin returns where a value comes from, nil where that is not known. The same pointer is returned each time; nobody changes what it points to.
	Origin(value string) *Origin
}
