package attest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"
)

// fixed is a verifier that does what the test says. The contracts tested here are about verifiers that misbehave, which
// the real ones do not.
type fixed struct {
	kind   Kind
	verify func(in Input) (*Claims, error)
}

func (f fixed) Kind() Kind { return f.kind }
func (f fixed) Verify(_ context.Context, in Input) (*Claims, error) {
	if f.verify == nil {
		return honest(f.kind)(in)
	}
	return f.verify(in)
}

// honest proves that the evidence holds exactly the digest, written as a JSON string or as it is.
func honest(kind Kind) func(Input) (*Claims, error) {
	return func(in Input) (*Claims, error) {
		data := in.Evidence
		var text string
		if json.Unmarshal(data, &text) == nil {
			data = []byte(text)
		}
		digest, id, _ := bytes.Cut(data, []byte("|"))
		if err := in.Binding.Exact(digest); err != nil {
			return nil, err
		}
		return &Claims{Kind: kind, Bound: Ptr(in.Binding.IsBound()), Sample: &SampleClaims{SVN: string(id)}}, nil
	}
}

func appraiser(t *testing.T, verifiers ...Verifier) *Appraiser {
	t.Helper()
	a, err := NewAppraiser(verifiers...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestNewAppraiser(t *testing.T) {
	for name, verifiers := range map[string][]Verifier{
		"none":      nil,
		"nil":       {nil},
		"duplicate": {fixed{kind: SNP}, fixed{kind: SNP}},
		"unknown":   {fixed{kind: "made-up"}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := NewAppraiser(verifiers...); err == nil {
				t.Error("accepted")
			}
		})
	}
	kinds := appraiser(t, fixed{kind: TPM}, fixed{kind: SNP}).Kinds()
	if len(kinds) != 2 || kinds[0] != SNP || kinds[1] != TPM {
		t.Errorf("Kinds() = %v", kinds)
	}
}

func TestAppraise(t *testing.T) {
	const p, d = "primary digest", "device digest"
	device := func(data string) Device { return Device{Kind: SampleDevice, Data: []byte(data)} }
	many := make([]Device, MaxDevices+1)
	for i := range many {
		many[i] = device(d + "|" + string(rune('a'+i)))
	}
	tests := []struct {
		name string
		ev   Evidence
		want Code // "" for success
	}{
		{"primary alone", Evidence{Kind: SNP, Primary: []byte(p)}, ""},
		{"with devices", Evidence{Kind: SNP, Primary: []byte(p), Devices: many[:MaxDevices]}, ""},
		{"unknown primary", Evidence{Kind: TPM, Primary: []byte(p)}, CodeKindUnknown},
		{"no kind", Evidence{Primary: []byte(p)}, CodeKindUnknown},
		{"device as primary", Evidence{Kind: SampleDevice, Primary: []byte(p)}, CodeKindNotPrimary},
		{"device as primary with a device", Evidence{Kind: SampleDevice, Primary: []byte(p), Devices: many[:1]}, CodeKindNotPrimary},
		{"primary as device", Evidence{Kind: SNP, Primary: []byte(p), Devices: []Device{{SNP, []byte(d)}}}, CodeNotADevice},
		{"unknown device", Evidence{Kind: SNP, Primary: []byte(p), Devices: []Device{{"gpu", []byte(d)}}}, CodeKindUnknown},
		{"same device twice", Evidence{Kind: SNP, Primary: []byte(p), Devices: []Device{device(d), device(d)}}, CodeDeviceTwice},
		{"same device twice, written otherwise", Evidence{Kind: SNP, Primary: []byte(p),
			Devices: []Device{device(d), device(`"` + d + `"`)}}, CodeDeviceTwice},
		{"device bound as a primary", Evidence{Kind: SNP, Primary: []byte(p), Devices: []Device{device(p)}}, CodeBinding},
		{"primary bound as a device", Evidence{Kind: SNP, Primary: []byte(d), Devices: []Device{device(d)}}, CodeBinding},
		{"second device not bound", Evidence{Kind: SNP, Primary: []byte(p), Devices: []Device{device(d), device("old")}}, CodeBinding},
		{"too many devices", Evidence{Kind: SNP, Primary: []byte(p), Devices: many}, CodeTooLarge},
		{"too large", Evidence{Kind: SNP, Primary: []byte(p), Devices: []Device{{SampleDevice, make([]byte, MaxEvidenceSize)}}}, CodeTooLarge},
	}
	a := appraiser(t, fixed{kind: SNP}, fixed{kind: SampleDevice})
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			claims, err := a.Appraise(t.Context(), test.ev, "default", BoundTo([]byte(p)), BoundTo([]byte(d)), time.Now())
			var refusal *Refusal
			switch {
			case test.want == "" && err != nil:
				t.Fatal(err)
			case test.want == "" && (len(claims.Devices) != len(test.ev.Devices) || claims.Kind != SNP || !*claims.Bound):
				t.Errorf("claims = %+v", claims)
			case test.want != "" && (!errors.As(err, &refusal) || refusal.Code != test.want || claims != nil):
				t.Errorf("claims %v, error %v, want %s", claims, err, test.want)
			}
		})
	}
}

// TestAppraiseUnboundDevice: a broker that binds the primary but forgets the device must not get claims that say bound.
func TestAppraiseUnboundDevice(t *testing.T) {
	a := appraiser(t, fixed{kind: SNP}, fixed{kind: SampleDevice})
	ev := Evidence{Kind: SNP, Primary: []byte("p"), Devices: []Device{{SampleDevice, []byte("anything")}}}
	claims, err := a.Appraise(t.Context(), ev, "default", BoundTo([]byte("p")), Unbound(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if *claims.Bound {
		t.Error("claims with an unbound device say they are bound")
	}
}

// TestAppraiseContract: whatever a verifier does, the caller gets a Refusal or an Unavailable.
func TestAppraiseContract(t *testing.T) {
	cause := errors.New("cause")
	for name, verify := range map[string]func(Input) (*Claims, error){
		"error":        func(Input) (*Claims, error) { return nil, cause },
		"claims+error": func(Input) (*Claims, error) { return &Claims{Kind: SNP, Bound: Ptr(true)}, cause },
		"panic":        func(Input) (*Claims, error) { panic(cause) },
		"nothing":      func(Input) (*Claims, error) { return nil, nil },
		"other kind":   func(Input) (*Claims, error) { return &Claims{Kind: TPM, Bound: Ptr(true)}, nil },
		"bound unsaid": func(Input) (*Claims, error) { return &Claims{Kind: SNP}, nil },
		"not bound":    func(Input) (*Claims, error) { return &Claims{Kind: SNP, Bound: Ptr(false)}, nil },
	} {
		t.Run(name, func(t *testing.T) {
			a := appraiser(t, fixed{kind: SNP, verify: verify})
			claims, err := a.Appraise(t.Context(), Evidence{Kind: SNP}, "default", BoundTo([]byte("p")), Binding{}, time.Now())
			var unavailable *Unavailable
			if !errors.As(err, &unavailable) || claims != nil {
				t.Errorf("claims %v, error %v, want an Unavailable", claims, err)
			}
		})
	}
	t.Run("bound to nothing", func(t *testing.T) {
		lie := func(Input) (*Claims, error) { return &Claims{Kind: SNP, Bound: Ptr(true)}, nil }
		a := appraiser(t, fixed{kind: SNP, verify: lie})
		if _, err := a.Appraise(t.Context(), Evidence{Kind: SNP}, "default", Unbound(), Unbound(), time.Now()); err == nil {
			t.Error("claims of unbound evidence that say they are bound were passed on")
		}
	})
}

// TestAppraiseTPMBesideAzure: the quote of a TPM beside an Azure guest's evidence must be by the key that the guest's hardware reports.
func TestAppraiseTPMBesideAzure(t *testing.T) {
	machine := func(kind Kind, azure bool, ak string) fixed {
		return fixed{kind: kind, verify: func(Input) (*Claims, error) {
			c := &Claims{Kind: kind, Bound: Ptr(true), TPM: &TPMClaims{AKDigest: ak}}
			if azure {
				c.Azure = &AzureClaims{}
			}
			return c, nil
		}}
	}
	for name, test := range map[string]struct {
		primary, device fixed
		want            Code
	}{
		"the same key":              {machine(AzSNPvTPM, true, "aa"), machine(TPM, false, "aa"), ""},
		"another machine's":         {machine(AzSNPvTPM, true, "aa"), machine(TPM, false, "bb"), CodeDeviceMismatch},
		"a quote without its claim": {machine(AzTDXvTPM, true, "aa"), fixed{kind: TPM}, CodeDeviceMismatch},
		"keys that nobody names":    {machine(AzSNPvTPM, true, ""), machine(TPM, false, ""), CodeDeviceMismatch},
		"beside another kind":       {fixed{kind: SNP}, machine(TPM, false, "bb"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := appraiser(t, test.primary, test.device)
			ev := Evidence{Kind: test.primary.kind, Primary: []byte("p"), Devices: []Device{{TPM, []byte("d")}}}
			_, err := a.Appraise(t.Context(), ev, "default", BoundTo([]byte("p")), BoundTo([]byte("d")), time.Now())
			var refusal *Refusal
			if test.want == "" && err != nil || test.want != "" && (!errors.As(err, &refusal) || refusal.Code != test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// TestAppraiseDeviceAskedTwice: one device that was asked twice is one device, although not all that it proves is the same.
func TestAppraiseDeviceAskedTwice(t *testing.T) {
	gpu := func(uuid, identity string) NVIDIADevice { return NVIDIADevice{ClaimedUUID: uuid, Identity: identity} }
	for name, test := range map[string]struct {
		kind          Kind
		first, second Claims
		want          Code
	}{
		"a TPM, later":         {TPM, Claims{TPM: &TPMClaims{AKDigest: "aa", Clock: 1}}, Claims{TPM: &TPMClaims{AKDigest: "aa", Clock: 2}}, CodeDeviceTwice},
		"two TPMs":             {TPM, Claims{TPM: &TPMClaims{AKDigest: "aa"}}, Claims{TPM: &TPMClaims{AKDigest: "bb"}}, ""},
		"a GPU by two names":   {NVIDIA, Claims{NVIDIA: &NVIDIAClaims{Devices: []NVIDIADevice{gpu("a", "1")}}}, Claims{NVIDIA: &NVIDIAClaims{Devices: []NVIDIADevice{gpu("b", "2"), gpu("c", "1")}}}, CodeDeviceTwice},
		"two GPUs by a name":   {NVIDIA, Claims{NVIDIA: &NVIDIAClaims{Devices: []NVIDIADevice{gpu("a", "1")}}}, Claims{NVIDIA: &NVIDIAClaims{Devices: []NVIDIADevice{gpu("a", "2")}}}, ""},
		"what nobody can tell": {TPM, Claims{}, Claims{}, CodeDeviceTwice},
	} {
		t.Run(name, func(t *testing.T) {
			device := fixed{kind: test.kind, verify: func(in Input) (*Claims, error) {
				c := test.first
				if string(in.Evidence) == "2" {
					c = test.second
				}
				c.Kind, c.Bound = test.kind, Ptr(true)
				return &c, nil
			}}
			a := appraiser(t, fixed{kind: SNP}, device)
			ev := Evidence{Kind: SNP, Primary: []byte("p"), Devices: []Device{{test.kind, []byte("1")}, {test.kind, []byte("2")}}}
			_, err := a.Appraise(t.Context(), ev, "default", BoundTo([]byte("p")), BoundTo([]byte("d")), time.Now())
			var refusal *Refusal
			if test.want == "" && err != nil || test.want != "" && (!errors.As(err, &refusal) || refusal.Code != test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}
