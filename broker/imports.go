package broker

import (
	"context"
	"errors"
	"time"

	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/policy"
	"github.com/vouchsafe/vouchsafe/policy/provenance"
	"github.com/vouchsafe/vouchsafe/policy/reference"
)

// ImportFormat says what a document of reference values is.
type ImportFormat string

// The formats. Whoever imports chooses one; what is signed in one of them is never read as another.
const (
	ImportStatement ImportFormat = "dsse"   // an in-toto statement with SLSA provenance, in a DSSE envelope
	ImportImage     ImportFormat = "cosign" // what cosign signs of an OCI image, and the signature beside it
	ImportKBS       ImportFormat = "kbs"    // the registration message of a KBS, which nobody signed
	ImportPlain     ImportFormat = "json"   // a list of values, which nobody signed
)

// Import is a document of reference values. What in it is signed is verified here, whoever brings it, by the keys of the namespace.
type Import struct {
	Set       string // that the values are put into
	Format    ImportFormat
	Document  []byte
	Signature string   // of ImportImage: base64
	Artefact  string   // of the signed formats: the digest of the OCI manifest that the document is attached to; "" for none
	Name      string   // of ImportKBS: which of its names; "" where it has one
	Values    []string // of the signed formats: the values that must be in it, which are imported; all that are in it when empty

	NotBefore, Expires time.Time // of values for which the document has none
	Note               string
	Activate           bool // they count at once, which needs the role approver
}

// Imported is what became of an import.
type Imported struct {
	Name   string            `json:"name"`
	Values []reference.Value `json:"values"` // those of the document, as the set has them now
	Origin *policy.Origin    `json:"origin,omitempty"`
}

// ImportReferences puts the values of a document into a set, which is made where there is none. They are staged, unless they are to count at once; a value that counts already goes on
// to count as it does, and gains the origin that a signed document gives it if it had none. A value that was retired is not brought back by a document, which
// may be as old as the reason to retire it. Authors may; an error about a signed document wraps a [*provenance.Refusal].
func (b *Broker) ImportReferences(ctx context.Context, who access.Caller, namespace string, in Import) (Imported, error) {
	if err := authorizeIn(who, namespace, access.Author); err != nil {
		return Imported{}, err
	}
	if in.Activate {
		if err := authorizeIn(who, namespace, access.Approver); err != nil {
			return Imported{}, err
		}
	}
	now := b.now().UTC().Truncate(time.Second)
	values, err := in.read(b.provenance[namespace], now)
	var refusal *provenance.Refusal
	if errors.As(err, &refusal) {
		b.logger.WarnContext(ctx, "reference values were not imported", "namespace", namespace, "set", clip(in.Set), "format", in.Format, "reason", refusal.Reason,
			"detail", refusal.Detail, "actor", who.Name, "token", who.Token)
		return Imported{}, &Error{Code: CodeInvalid, Message: "the document is not believed: " + refusal.Error(), Err: refusal}
	}
	if err != nil {
		return Imported{}, asError(err)
	}
	for i := range values {
		v := &values[i]
		v.State, v.AddedBy, v.AddedAt = reference.Staged, who.Name, now
		if in.Activate {
			v.State = reference.Active
		}
	}
	set, err := b.changeReferences(ctx, who, namespace, in.Set, EventReferenceImport, true, func(set reference.Set) (reference.Set, error) {
		return fold(set, values, admit)
	})
	if err != nil {
		return Imported{}, err
	}
	out := Imported{Name: set.Name, Values: make([]reference.Value, 0, len(values)), Origin: values[0].Origin}
	for _, v := range values {
		if v, ok := set.Find(v.Value); ok {
			out.Values = append(out.Values, v)
		}
	}
	return out, nil
}

// read reads and verifies a document. There is at least one value where there is no error.
func (in *Import) read(keys provenance.Config, now time.Time) ([]reference.Value, error) {
	signed := in.Format == ImportStatement || in.Format == ImportImage
	switch {
	case len(in.Values) > MaxPage:
		return nil, invalid("%d values are named, more than %d", len(in.Values), MaxPage)
	case !signed && (in.Artefact != "" || len(in.Values) > 0):
		return nil, invalid("a document of format %q, which nobody signed, cannot be held against an artefact or values", clip(string(in.Format)))
	case in.Format != ImportImage && in.Signature != "":
		return nil, invalid("a signature beside the document is for the format %q only", ImportImage)
	case in.Format != ImportKBS && in.Name != "":
		return nil, invalid("a name is for the format %q only", ImportKBS)
	}
	want := provenance.Want{Set: in.Set, Values: in.Values, Artefact: in.Artefact, Now: now}
	for i, v := range want.Values {
		want.Values[i] = reference.Normalise(v)
	}
	switch in.Format {
	case ImportStatement:
		result, err := keys.Statement(in.Document, want)
		return in.stated(result, err)
	case ImportImage:
		result, err := keys.Image(in.Document, in.Signature, want)
		return in.stated(result, err)
	case ImportKBS:
		list, err := provenance.ParseKBS(in.Document, in.Name)
		return in.plain(list, err)
	case ImportPlain:
		list, err := provenance.ParsePlain(in.Document)
		return in.plain(list, err)
	}
	return nil, invalid("there is no format %q of documents; there are %q, %q, %q and %q", clip(string(in.Format)), ImportStatement, ImportImage, ImportKBS, ImportPlain)
}

func (in *Import) stated(result provenance.Result, err error) ([]reference.Value, error) {
	if err != nil {
		return nil, err
	}
	o := result.Origin
	origin := &policy.Origin{
		Statement: o.Statement, Key: o.Key, Builder: o.Builder, Repository: o.Repository, Workflow: o.Workflow, Ref: o.Ref, Commit: o.Commit, Image: o.Image,
	}
	values := make([]reference.Value, len(result.Values))
	for i, v := range result.Values {
		values[i] = reference.Value{Value: v, NotBefore: in.NotBefore, Expires: in.Expires, Note: in.Note, Provenance: o.Statement, Origin: origin}
	}
	return values, nil
}

func (in *Import) plain(list []provenance.Plain, err error) ([]reference.Value, error) {
	if err != nil {
		return nil, err
	}
	from := digest(in.Document)
	values := make([]reference.Value, len(list))
	for i, p := range list {
		v := reference.Value{Value: p.Value, NotBefore: p.NotBefore, Expires: p.Expires, Note: p.Note, Provenance: from}
		if v.NotBefore.IsZero() {
			v.NotBefore = in.NotBefore
		}
		if v.Expires.IsZero() {
			v.Expires = in.Expires
		}
		if v.Note == "" {
			v.Note = in.Note
		}
		values[i] = v
	}
	return values, nil
}

// admit puts an imported value into a set.
func admit(set reference.Set, v reference.Value) (reference.Set, error) {
	old, there := set.Find(v.Value)
	switch {
	case !there:
		return set.Put(v)
	case old.State == reference.Retired:
		return set, &Error{Code: CodeConflict, Message: "value " + clip(old.Value) + " of " + set.Name + " was retired: a document does not bring it back; put it by hand if it is to count"}
	}
	if v.Origin == nil && old.Origin != nil { // what was verified stays known
		v.Origin, v.Provenance = old.Origin, old.Provenance
	}
	if old.State == reference.Active && v.State == reference.Staged {
		if old.Origin == nil && v.Origin != nil { // another one, which may be older, does not take the place of what decisions name
			old.Origin, old.Provenance = v.Origin, v.Provenance
		}
		return set.Put(old)
	}
	return set.Put(v)
}

// ActivateReferences has staged values of a set count. Approvers may.
func (b *Broker) ActivateReferences(ctx context.Context, who access.Caller, namespace, name string, values []string) (reference.Set, error) {
	if err := authorizeIn(who, namespace, access.Approver); err != nil {
		return reference.Set{}, err
	}
	if len(values) == 0 || len(values) > MaxPage {
		return reference.Set{}, invalid("%d reference values; activate 1 to %d at once", len(values), MaxPage)
	}
	return b.changeReferences(ctx, who, namespace, name, EventReferenceActivate, false, func(set reference.Set) (reference.Set, error) {
		return fold(set, values, reference.Set.Activate)
	})
}
