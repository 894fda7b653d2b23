package token

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vouchsafe/vouchsafe/attest"
)

const nrasIssuer = "https://nras.attestation.nvidia.com"

func nvidiaFake() *fake {
	return &fake{
		trusted: Trusted{Name: "nras", Format: NVIDIARemote, Issuer: nrasIssuer}, key: p384Key(),
		header: claimSet{"alg": "ES384", "kid": "nv-eat-kid-prod-1", "typ": "JWT"}, payload: overallClaims,
	}
}

// overallClaims and gpuClaims are shaped as NVIDIA's "GPU Claims" describes versions 2.0 and 3.0, and as answers of the service that users published.
func overallClaims() claimSet {
	return fromJSON(registeredClaims(nrasIssuer, time.Hour), `{"sub": "NVIDIA-PLATFORM-ATTESTATION", "x-nvidia-ver": "3.0", "x-nvidia-overall-att-result": true,
		"eat_nonce": "`+hex.EncodeToString(digest[:32])+`"}`)
}

func gpuClaims(n int) claimSet {
	return fromJSON(registeredClaims(nrasIssuer, time.Hour), `{"eat_nonce": "`+hex.EncodeToString(digest[:32])+`", "ueid": "64296018929800751125095803050074915273022114246`+fmt.Sprint(n)+`",
		"hwmodel": "GH100 A01 GSP BROM", "oemid": "5703", "dbgstat": "disabled", "secboot": true, "measres": "success",
		"x-nvidia-gpu-driver-version": "570.133.20", "x-nvidia-gpu-vbios-version": "96.00.CF.00.02", "x-nvidia-gpu-driver-rim-signature-verified": true,
		"x-nvidia-gpu-attestation-report-cert-chain": {"x-nvidia-cert-status": "valid", "x-nvidia-cert-ocsp-status": "good", "x-nvidia-cert-ocsp-nonce-matches": false},
		"x-nvidia-gpu-vbios-index-no-conflict": true, "x-nvidia-gpu-attestation-report-parsed": true, "x-nvidia-gpu-attestation-report-nonce-match": true,
		"x-nvidia-gpu-attestation-report-signature-verified": true, "x-nvidia-gpu-arch-check": true, "x-nvidia-attestation-warning": null}`)
}

// set is a set of tokens before it is signed.
type set struct {
	overall claimSet
	devices map[string]claimSet
	key     crypto.Signer // of devices
	swap    func(detached map[string]string)
}

// nvidiaSet signs a set of two GPUs that edit changed.
func nvidiaSet(edit func(*set)) []byte {
	f := nvidiaFake()
	s := &set{overall: overallClaims(), devices: map[string]claimSet{"GPU-0": gpuClaims(0), "GPU-1": gpuClaims(1)}, key: f.key}
	if edit != nil {
		edit(s)
	}
	detached, submods := map[string]string{}, claimSet{}
	for name, claims := range s.devices {
		detached[name] = sign(s.key, f.header, claims)
		sum := sha256.Sum256([]byte(detached[name]))
		submods[name] = []any{"DIGEST", []any{"SHA-256", hex.EncodeToString(sum[:])}}
	}
	if _, ok := s.overall["submods"]; !ok {
		s.overall["submods"] = submods
	}
	if s.swap != nil {
		s.swap(detached)
	}
	return must(json.Marshal([]any{[]string{"JWT", sign(f.key, f.header, s.overall)}, detached}))
}

func TestDevice(t *testing.T) {
	v, _ := verifierOf(t, nvidiaFake())
	device := v.Device(nil)
	if device.Kind() != attest.NVIDIA {
		t.Errorf("kind %s", device.Kind())
	}
	got, err := device.Verify(t.Context(), input(nvidiaSet(nil)))
	if err != nil {
		t.Fatal(err)
	}
	gpu := attest.TokenDevice{
		Name: "GPU-0", ID: "642960189298007511250958030500749152730221142460", HardwareModel: "GH100 A01 GSP BROM", Architecture: "HOPPER", Driver: "570.133.20", Firmware: "96.00.CF.00.02",
		SecureBoot: attest.Ptr(true), Debug: attest.Ptr(false),
	}
	second := gpu
	second.Name, second.ID = "GPU-1", "642960189298007511250958030500749152730221142461"
	want := &attest.Claims{
		Kind: attest.NVIDIA, HardwareRoot: attest.RootVerifier, Bound: attest.Ptr(true), Debug: attest.Ptr(false), ReportData: hex.EncodeToString(digest[:32]),
		Collateral: &attest.CollateralClaims{Current: true, Age: attest.Ptr(3600), Source: "local", Expires: now.Add(59 * time.Minute)},
		Token: &attest.TokenClaims{
			Verifier: "nras", Format: "nvidia-ras", Issuer: nrasIssuer, Subject: "NVIDIA-PLATFORM-ATTESTATION", ID: "id-1", Issued: now.Add(-time.Minute), Expires: now.Add(59 * time.Minute), Age: 60,
			KeyID: "nv-eat-kid-prod-1", SigningKey: got.Token.SigningKey, GPUs: []attest.TokenDevice{gpu, second}, Stated: got.Token.Stated,
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestDeviceRefusals is a table of bad sets.
func TestDeviceRefusals(t *testing.T) {
	overall := func(name string, value any) []byte {
		return nvidiaSet(func(s *set) { s.overall[name] = value })
	}
	gpu := func(name string, value any) []byte {
		return nvidiaSet(func(s *set) { s.devices["GPU-1"][name] = value })
	}
	detached := func(swap func(map[string]string)) []byte { return nvidiaSet(func(s *set) { s.swap = swap }) }
	other := hex.EncodeToString(make([]byte, 32))
	for name, test := range map[string]struct {
		set  []byte
		want attest.Code
	}{
		"failed":                            {overall("x-nvidia-overall-att-result", false), attest.CodeVerdict},
		"failed, in a text":                 {overall("x-nvidia-overall-att-result", "true"), attest.CodeVerdict},
		"no result":                         {overall("x-nvidia-overall-att-result", nil), attest.CodeVerdict},
		"another version":                   {overall("x-nvidia-ver", "4.0"), attest.CodeVersionUnsupported},
		"no version":                        {overall("x-nvidia-ver", nil), attest.CodeVersionUnsupported},
		"another issuer":                    {overall("iss", "https://nras.example"), attest.CodeIssuer},
		"another nonce":                     {overall("eat_nonce", other), attest.CodeBinding},
		"nonce in upper case":               {overall("eat_nonce", strings.ToUpper(hex.EncodeToString(digest[:32]))), attest.CodeBinding},
		"the whole digest as nonce":         {overall("eat_nonce", hex.EncodeToString(digest)), attest.CodeBinding},
		"no nonce":                          {overall("eat_nonce", nil), attest.CodeBinding},
		"expired":                           {overall("exp", now.Unix()), attest.CodeTokenTime},
		"old":                               {overall("iat", now.Add(-time.Hour).Unix()), attest.CodeTokenTime},
		"no submodules":                     {overall("submods", claimSet{}), attest.CodeMalformed},
		"submodules of a list":              {overall("submods", []string{}), attest.CodeMalformed},
		"digest of another algorithm":       {overall("submods", claimSet{"GPU-0": []any{"DIGEST", []any{"SHA-1", ""}}, "GPU-1": nil}), attest.CodeMalformed},
		"digest of none":                    {overall("submods", claimSet{"GPU-0": "x", "GPU-1": nil}), attest.CodeMalformed},
		"no devices":                        {nvidiaSet(func(s *set) { s.devices = nil }), attest.CodeMalformed},
		"a device too few":                  {detached(func(d map[string]string) { delete(d, "GPU-1") }), attest.CodeMalformed},
		"a device too many":                 {detached(func(d map[string]string) { d["GPU-2"] = d["GPU-1"] }), attest.CodeMalformed},
		"tokens swapped":                    {detached(func(d map[string]string) { d["GPU-0"], d["GPU-1"] = d["GPU-1"], d["GPU-0"] }), attest.CodeSignature},
		"a token of another set":            {detached(func(d map[string]string) { d["GPU-0"] = sign(p384Key(), nvidiaFake().header, gpuClaims(0)) }), attest.CodeSignature},
		"devices signed by another key":     {nvidiaSet(func(s *set) { s.key = p256Key() }), attest.CodeSignature},
		"device: another nonce":             {gpu("eat_nonce", other), attest.CodeBinding},
		"device: no nonce":                  {gpu("eat_nonce", nil), attest.CodeBinding},
		"device: expired":                   {gpu("exp", now.Unix()), attest.CodeTokenTime},
		"device: another issuer":            {gpu("iss", "https://nras.example"), attest.CodeIssuer},
		"device: another verifier":          {nvidiaSet(func(s *set) { s.devices["GPU-1"] = fakes()["ear"].payload() }), attest.CodeIssuerKey},
		"device: measurements fail":         {gpu("measres", "fail"), attest.CodeVerdict},
		"device: no measurements":           {gpu("measres", nil), attest.CodeVerdict},
		"device: nonce does not match":      {gpu("x-nvidia-gpu-attestation-report-nonce-match", false), attest.CodeVerdict},
		"device: nobody matched the nonce":  {gpu("x-nvidia-gpu-attestation-report-nonce-match", nil), attest.CodeVerdict},
		"device: nobody checked":            {gpu("x-nvidia-gpu-attestation-report-signature-verified", nil), attest.CodeVerdict},
		"device: something does not hold":   {gpu("x-nvidia-gpu-driver-rim-signature-verified", false), attest.CodeVerdict},
		"device: its certificate revoked":   {gpu("x-nvidia-gpu-attestation-report-cert-chain", claimSet{"x-nvidia-cert-status": "valid", "x-nvidia-cert-ocsp-status": "revoked", "x-nvidia-cert-revocation-reason": "keyCompromise"}), attest.CodeVerdict},
		"device: a manifest's on hold":      {gpu("x-nvidia-gpu-driver-rim-cert-chain", claimSet{"x-nvidia-cert-status": "valid", "x-nvidia-cert-ocsp-status": "revoked", "x-nvidia-cert-revocation-reason": "certificateHold"}), attest.CodeVerdict},
		"device: a certificate expired":     {gpu("x-nvidia-gpu-vbios-rim-cert-chain", claimSet{"x-nvidia-cert-status": "expired", "x-nvidia-cert-ocsp-status": "good"}), attest.CodeVerdict},
		"device: a chain of another form":   {gpu("x-nvidia-gpu-vbios-rim-cert-chain", []any{"valid"}), attest.CodeMalformed},
		"device: a status not asked for":    {gpu("x-nvidia-gpu-vbios-rim-cert-chain", claimSet{"x-nvidia-cert-status": "valid", "x-nvidia-cert-ocsp-status": nil}), ""},
		"device: no chain":                  {gpu("x-nvidia-gpu-attestation-report-cert-chain", nil), ""},
		"device: something new doesn't":     {gpu("x-nvidia-gpu-new-claim", false), attest.CodeVerdict},
		"device: unknown architecture":      {gpu("hwmodel", "GX900"), attest.CodeVersionUnsupported},
		"device: no model":                  {gpu("hwmodel", nil), attest.CodeVersionUnsupported},
		"device: a switch among GPUs":       {gpu("hwmodel", "LS10 A01"), attest.CodeVerdict},
		"device: twice":                     {gpu("ueid", gpuClaims(0)["ueid"]), attest.CodeDeviceTwice},
		"device: secure boot in a text":     {gpu("secboot", "true"), attest.CodeMalformed},
		"17 devices":                        {nvidiaSet(func(s *set) { manyGPUs(s) }), attest.CodeMalformed},
		"one part":                          {[]byte(`[["JWT","a.b.c"]]`), attest.CodeMalformed},
		"three parts":                       {[]byte(`[["JWT","a.b.c"],{},{}]`), attest.CodeMalformed},
		"not a JWT":                         {[]byte(`[["CWT","a.b.c"],{}]`), attest.CodeMalformed},
		"a name twice":                      {[]byte(`[["JWT","a.b.c"],{"GPU-0":"a","GPU-0":"b"}]`), attest.CodeMalformed},
		"nothing":                           {[]byte(`[`), attest.CodeMalformed},
		"too large":                         {[]byte("[" + strings.Repeat(" ", MaxEvidence)), attest.CodeTooLarge},
		"the overall token alone":           {[]byte(nvidiaFake().token()), attest.CodeVersionUnsupported},
		"tokens of a verifier of machines":  {must(json.Marshal([]any{[]string{"JWT", fakes()["google"].token()}, claimSet{}})), attest.CodeIssuer},
		"evidence that is appraised here":   {[]byte(`{"device_evidence_list": []}`), attest.CodeVersionUnsupported},
		"nothing at all":                    {nil, attest.CodeVersionUnsupported},
		"set with something behind it":      {append(nvidiaSet(nil), "[]"...), attest.CodeMalformed},
		"detached tokens in lists of pairs": {must(json.Marshal([]any{[]string{"JWT", "a.b.c"}, map[string]any{"GPU-0": []string{"JWT", "a.b.c"}}})), attest.CodeMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			v, _ := verifierOf(t, nvidiaFake(), fakes()["google"], fakes()["ear"])
			if _, err := v.Device(nil).Verify(t.Context(), input(test.set)); codeOf(t, err) != test.want {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

func manyGPUs(s *set) {
	for i := range attest.MaxDevices + 1 {
		s.devices[fmt.Sprintf("GPU-%d", i)] = gpuClaims(i)
	}
}

// TestDeviceDebug: one device that can be debugged makes the set one, and one that does not say leaves it unsaid.
func TestDeviceDebug(t *testing.T) {
	v, _ := verifierOf(t, nvidiaFake())
	yes, no := attest.Ptr(true), attest.Ptr(false)
	for _, test := range []struct {
		first, second any
		want          *bool
	}{
		{"disabled", "disabled", no}, {"disabled", "enabled", yes}, {"enabled", "disabled", yes}, {"enabled", nil, yes}, {nil, "enabled", yes},
		{nil, "disabled", nil}, {"disabled", nil, nil}, {"disabled", "new word", nil}, {nil, nil, nil},
	} {
		c, err := v.Device(nil).Verify(t.Context(), input(nvidiaSet(func(s *set) {
			s.devices["GPU-0"]["dbgstat"], s.devices["GPU-1"]["dbgstat"] = test.first, test.second
		})))
		if err != nil || !cmp.Equal(c.Debug, test.want) {
			t.Errorf("%v and %v: %+v, %v", test.first, test.second, c.Debug, err)
		}
	}
}

// TestDeviceSwitch reads the claims of switches, which have names of their own.
func TestDeviceSwitch(t *testing.T) {
	v, _ := verifierOf(t, nvidiaFake())
	c, err := v.Device(nil).Verify(t.Context(), input(nvidiaSet(func(s *set) {
		claims := gpuClaims(0)
		for name, value := range maps.Clone(claims) {
			if rest, ok := strings.CutPrefix(name, "x-nvidia-gpu-"); ok {
				delete(claims, name)
				claims["x-nvidia-switch-"+rest] = value
			}
		}
		claims["hwmodel"], claims["x-nvidia-switch-bios-version"] = "LS10 A01 GSP BROM", "96.10.57.00.01"
		s.devices = map[string]claimSet{"SWITCH-0": claims}
	})))
	if err != nil || c.Token.GPUs[0].Architecture != "LS10" || c.Token.GPUs[0].Firmware != "96.10.57.00.01" {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestDevicePrimary: a device's token is not evidence of a machine.
func TestDevicePrimary(t *testing.T) {
	f := nvidiaFake()
	v, _ := verifierOf(t, f)
	if _, err := v.Verify(t.Context(), input([]byte(f.token()))); codeOf(t, err) != attest.CodeKindNotPrimary {
		t.Error(err)
	}
}

func TestDeviceFlips(t *testing.T) {
	v, _ := verifierOf(t, nvidiaFake())
	good := nvidiaSet(func(s *set) { delete(s.devices, "GPU-1") })
	device := v.Device(nil)
	if _, err := device.Verify(t.Context(), input(good)); err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := slices.Clone(good)
		bad[i] ^= 1 << (i % 7)
		if _, err := device.Verify(t.Context(), input(bad)); codeOf(t, err) == "" {
			t.Fatalf("byte %d of %d flipped: accepted: %q", i, len(good), bad[max(0, i-20):min(len(bad), i+20)])
		}
		if _, err := device.Verify(t.Context(), input(good[:i])); codeOf(t, err) == "" {
			t.Fatalf("%d of %d bytes: accepted", i, len(good))
		}
	}
}

// local is another verifier of devices.
type local struct{ seen []byte }

func (*local) Kind() attest.Kind { return attest.NVIDIA }
func (l *local) Verify(_ context.Context, in attest.Input) (*attest.Claims, error) {
	l.seen = in.Evidence
	return &attest.Claims{Kind: attest.NVIDIA, Bound: attest.Ptr(true)}, nil
}

// TestDeviceLocal: other evidence goes to the verifier that appraises it here, and sets of tokens never do.
func TestDeviceLocal(t *testing.T) {
	v, _ := verifierOf(t, nvidiaFake())
	l := &local{}
	device := v.Device(l)
	evidence := []byte(`{"device_evidence_list": []}`)
	if _, err := device.Verify(t.Context(), input(evidence)); err != nil || string(l.seen) != string(evidence) {
		t.Errorf("%q, %v", l.seen, err)
	}
	l.seen = nil
	if _, err := device.Verify(t.Context(), input([]byte(" [1]"))); codeOf(t, err) != attest.CodeMalformed || l.seen != nil {
		t.Errorf("%q, %v", l.seen, err)
	}
	if v, _ := verifierOf(t, fakes()["google"]); v.Device(l) != attest.Verifier(l) || v.Device(nil) != nil {
		t.Error("a verifier of devices without the service")
	}
}
