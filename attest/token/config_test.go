package token

import (
	"crypto"
	"strings"
	"testing"
	"time"
)

// TestNewRefuses is a table of configurations that are incomplete, ambiguous or insecure.
func TestNewRefuses(t *testing.T) {
	set := jwks(map[string]crypto.Signer{"a": rsaKey()})
	p := newPKI()
	good := func(edit func(*Trusted)) Trusted {
		out := Trusted{Name: "gcs", Format: ConfidentialSpace, Issuer: "https://confidentialcomputing.googleapis.com", Audiences: []string{"https://broker.example"}, Keys: set}
		if edit != nil {
			edit(&out)
		}
		return out
	}
	one := func(edit func(*Trusted)) Config { return Config{Verifiers: []Trusted{good(edit)}} }
	ear := func(edit func(*Trusted)) Config {
		out := Trusted{Name: "as", Format: EAR, Roots: pemOf(p.root)}
		if edit != nil {
			edit(&out)
		}
		return Config{Verifiers: []Trusted{out}}
	}
	many := make([]Trusted, maxVerifiers+1)
	for i := range many {
		many[i] = good(func(x *Trusted) { x.Name, x.Issuer = strings.Repeat("n", i+1), strings.Repeat("i", i+1) })
	}
	for name, test := range map[string]struct {
		cfg  Config
		want string // of the error; "" for none
	}{
		"good":                    {one(nil), ""},
		"good, by roots":          {ear(nil), ""},
		"good, as a passport":     {ear(func(x *Trusted) { x.Passport = true }), ""},
		"good, Google by roots":   {one(func(x *Trusted) { x.Keys, x.Roots = nil, pemOf(p.root) }), ""},
		"nobody":                  {Config{}, "0 verifiers"},
		"too many":                {Config{Verifiers: many}, "17 verifiers"},
		"no name":                 {one(func(x *Trusted) { x.Name = "" }), "a name is"},
		"a name with a slash":     {one(func(x *Trusted) { x.Name = "a/b" }), "a name is"},
		"a name in upper case":    {one(func(x *Trusted) { x.Name = "GCS" }), "a name is"},
		"a long name":             {one(func(x *Trusted) { x.Name = strings.Repeat("n", 64) }), "a name is"},
		"no format":               {one(func(x *Trusted) { x.Format = "" }), "the format is"},
		"unknown format":          {one(func(x *Trusted) { x.Format = "jwt" }), "the format is"},
		"no issuer":               {one(func(x *Trusted) { x.Issuer = "" }), "the issuer is"},
		"white space":             {one(func(x *Trusted) { x.Issuer += " " }), "the issuer is"},
		"a long issuer":           {one(func(x *Trusted) { x.Issuer = strings.Repeat("i", maxName+1) }), "the issuer is"},
		"no audience":             {one(func(x *Trusted) { x.Audiences = nil }), "have an audience"},
		"an empty audience":       {one(func(x *Trusted) { x.Audiences = []string{""} }), "an audience is"},
		"Google's own audience":   {one(func(x *Trusted) { x.Audiences = []string{"https://sts.googleapis.com"} }), "Google's token service"},
		"an age of less than 0":   {one(func(x *Trusted) { x.MaxAge = -1 }), "a token's age"},
		"an age of a year":        {one(func(x *Trusted) { x.MaxAge = 366 * 24 * time.Hour }), "a token's age"},
		"passport of Google":      {one(func(x *Trusted) { x.Passport = true }), "recipient key"},
		"keys and roots":          {one(func(x *Trusted) { x.Roots = pemOf(p.root) }), "both keys and roots"},
		"no keys":                 {one(func(x *Trusted) { x.Keys = nil }), "neither keys nor roots"},
		"empty keys":              {one(func(x *Trusted) { x.Keys = []byte{} }), "keys:"},
		"bad keys":                {one(func(x *Trusted) { x.Keys = []byte("{}") }), "keys:"},
		"empty roots":             {ear(func(x *Trusted) { x.Roots = []byte{} }), "no certificate"},
		"roots that are keys":     {ear(func(x *Trusted) { x.Roots = []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n") }), "not a PEM certificate"},
		"roots with a tail":       {ear(func(x *Trusted) { x.Roots = append(pemOf(p.root), 'x') }), "not a PEM certificate"},
		"a root that is a leaf":   {ear(func(x *Trusted) { x.Roots = pemOf(p.leaf(nil)) }), "not an authority"},
		"roots for Azure":         {one(func(x *Trusted) { x.Format, x.Keys, x.Roots = AzureAttestation, nil, pemOf(p.root) }), "bring no certificates"},
		"two of one name":         {Config{Verifiers: []Trusted{good(nil), good(func(x *Trusted) { x.Issuer = "i" })}}, "two verifiers"},
		"two of one issuer":       {Config{Verifiers: []Trusted{good(nil), good(func(x *Trusted) { x.Name = "b" })}}, "the same issuer"},
		"negative age of sets":    {Config{Verifiers: one(nil).Verifiers, KeySetAge: -1}, "the age of a key set"},
		"negative grace":          {Config{Verifiers: one(nil).Verifiers, KeySetGrace: -1}, "the age of a key set"},
		"endless grace":           {Config{Verifiers: one(nil).Verifiers, KeySetGrace: MaxKeySetAge + 1}, "the age of a key set"},
		"endorsements for no key": {Config{Verifiers: one(func(x *Trusted) { x.Keys = nil }).Verifiers, Endorsements: &shelf{}}, ""},
	} {
		v, err := New(test.cfg)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
		if err == nil && v.Passports() != test.cfg.Verifiers[0].Passport {
			t.Errorf("%s: passports %v", name, v.Passports())
		}
	}
}
