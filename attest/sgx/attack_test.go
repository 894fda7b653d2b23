package sgx

import (
	"bytes"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap/dcaptest"
	"github.com/vouchsafe/vouchsafe/internal/mutate"
	"github.com/vouchsafe/vouchsafe/internal/vectors"
)

// vectorSetup judges the shared quote by Intel's lists of the time, and collateral by the world's signer.
func vectorSetup(tb testing.TB, platform, qe string) (v *Verifier, quote []byte) {
	tb.Helper()
	quote = vectors.Read(tb, "sgx/quote-v3.dat")
	names, err := EndorsementNames(quote)
	if err != nil {
		tb.Fatal(err)
	}
	if names[1] != "intel/identity/qe" || names[2] != "intel/crl/platform" || names[3] != "intel/crl/root" {
		tb.Errorf("names %v", names)
	}
	intel, err := dcap.IntelRoots()
	if err != nil {
		tb.Fatal(err)
	}
	info := dcaptest.TCBInfo(dcap.SGX, platform)
	info["fmspc"] = strings.TrimPrefix(names[0], "intel/tcb/sgx/")
	info["tcbLevels"] = []dcaptest.Object{dcaptest.Level(dcap.SGX, 0, 0, platform)}
	s := dcaptest.Recorded()
	s.PutTCB(dcaptest.Shared(), dcap.SGX, &dcaptest.Machine{FMSPC: info["fmspc"].(string)}, info)
	s.PutIdentity(dcaptest.Shared(), dcap.SGX, dcaptest.Identity(dcap.SGX, qe))
	v, err = newVerifier(Config{Endorsements: s}, dcap.Roots{Platform: intel.Platform, Collateral: dcaptest.Shared().Root.Certificate})
	if err != nil {
		tb.Fatal(err)
	}
	return v, quote
}

// TestVector: the shared quote, of real hardware.
func TestVector(t *testing.T) {
	for _, row := range [][3]string{
		{"UpToDate", "UpToDate", "up-to-date"}, {"SWHardeningNeeded", "UpToDate", "sw-hardening-needed"}, {"ConfigurationNeeded", "OutOfDate", "out-of-date-configuration-needed"},
		{"OutOfDate", "UpToDate", "out-of-date"}, {"UpToDate", "Revoked", "revoked"}, {"Revoked", "UpToDate", "revoked"},
	} {
		v, quote := vectorSetup(t, row[0], row[1])
		for _, evidence := range [][]byte{quote, kbs(quote)} {
			claims, err := v.Verify(t.Context(), attest.Input{Evidence: evidence, Binding: attest.Unbound(), Time: dcaptest.RecordedAt})
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(claims.Measurement, "8f173e46") || !strings.HasPrefix(claims.ReportData, "74657374") || claims.TCBStatus != row[2] ||
				!claims.Collateral.Current || *claims.Bound || claims.HardwareRoot != "intel-sgx" || claims.Intel.QESVN != 8 || claims.Intel.Authority != "platform" {
				t.Errorf("claims %+v\n%+v\n%+v", claims, claims.SGX, claims.Intel)
			}
		}
		_, err := v.Verify(t.Context(), attest.Input{Evidence: quote, Binding: attest.BoundTo(dcaptest.Binding), Time: dcaptest.RecordedAt})
		dcaptest.WantCode(t, err, attest.CodeBinding)
	}
}

// flips changes each byte in turn. What is still accepted must have the same two certificates, and be changed in the chain only.
func flips(t *testing.T, evidence []byte, verify func([]byte) (*attest.Claims, error)) {
	t.Helper()
	if _, err := verify(evidence); err != nil {
		t.Fatal(err)
	}
	two := func(chain []byte) (ders []byte) {
		for range 2 {
			block, rest := pem.Decode(chain)
			if block == nil {
				return nil
			}
			ders, chain = append(ders, block.Bytes...), rest
		}
		return ders
	}
	chain := bytes.Index(evidence, []byte("-----BEGIN"))
	for i := 0; i < len(evidence); i += mutate.Stride(1) {
		changed := bytes.Clone(evidence)
		changed[i] ^= 1
		_, err := verify(changed)
		var refusal *attest.Refusal
		switch {
		case err == nil && (i < chain || !bytes.Equal(two(changed[chain:]), two(evidence[chain:]))):
			t.Errorf("byte %d of %d, %q, changed and accepted", i, len(evidence), evidence[i])
		case err != nil && !errors.As(err, &refusal):
			t.Errorf("byte %d: %v", i, err)
		}
	}
}

func TestFlips(t *testing.T) {
	s := goodSetup(t)
	for _, version := range []uint16{3, 5} {
		flips(t, s.quote(version).Bytes(), func(b []byte) (*attest.Claims, error) { return s.verify(t, b) })
	}
	v, quote := vectorSetup(t, "UpToDate", "UpToDate")
	flips(t, quote, func(b []byte) (*attest.Claims, error) {
		return v.Verify(t.Context(), attest.Input{Evidence: b, Binding: attest.Unbound(), Time: dcaptest.RecordedAt})
	})
}

func TestTruncation(t *testing.T) {
	s := goodSetup(t)
	for _, version := range []uint16{3, 4, 5} {
		evidence := s.quote(version).Bytes()
		for n := 0; n < len(evidence); n += mutate.Stride(1) {
			_, err := s.verify(t, evidence[:n])
			dcaptest.WantCode(t, err, attest.CodeMalformed)
		}
	}
}

// TestLengths sets each length of version 3 to what breaks parsers.
func TestLengths(t *testing.T) {
	s := goodSetup(t)
	evidence := s.quote(3).Bytes()
	section := dcaptest.HeaderSize + 384
	le := binary.LittleEndian
	for name, field := range map[string]struct{ at, size int }{
		"signature data":      {section, 4},
		"authentication data": {section + 4 + 128 + 384 + 64, 2},
		"chain":               {section + 4 + 128 + 384 + 64 + 2 + 32 + 2, 4},
	} {
		for _, value := range []uint32{0, 1, 31, 33, 1 << 15, 1<<16 - 1, 1 << 31, 1<<32 - 1} {
			changed := bytes.Clone(evidence)
			if field.size == 2 {
				le.PutUint16(changed[field.at:], uint16(value))
			} else {
				le.PutUint32(changed[field.at:], value)
			}
			if _, err := s.verify(t, changed); err == nil {
				t.Errorf("%s of %d is accepted", name, value)
			} else {
				dcaptest.WantCode(t, err, attest.CodeMalformed)
			}
		}
	}
}

// TestRelayed: a quote of another is not mine, nor is its body with my signature.
func TestRelayed(t *testing.T) {
	s := goodSetup(t)
	mine, theirs := s.quote(3), s.quote(3)
	copy(theirs.Body[dcaptest.EnclaveReportData:], "somebody else's")
	theirs.Key = mine.Key
	relayed := theirs.Bytes()
	_, err := s.verify(t, relayed)
	dcaptest.WantCode(t, err, attest.CodeBinding)
	signed := mine.Signed()
	_, err = s.verify(t, append(signed, relayed[len(signed):]...))
	dcaptest.WantCode(t, err, attest.CodeSignature)
	_, err = s.verifier.Verify(t.Context(), attest.Input{Evidence: mine.Bytes(), Time: dcaptest.Now})
	dcaptest.WantCode(t, err, attest.CodeBinding)
}

func checkVerify(v *Verifier) func(t *testing.T, input []byte) {
	return func(t *testing.T, input []byte) {
		claims := dcaptest.VerifyAny(t, v, input)
		if claims != nil && (claims.Measurement[:6] != "808182" || claims.TCBStatus != "up-to-date") {
			t.Fatalf("accepted what nobody signed: %x", input)
		}
	}
}

func seeds(s *setup) [][]byte {
	quote := s.quote(3).Bytes()
	return [][]byte{quote, s.quote(4).Bytes(), s.quote(5).Bytes(), kbs(quote)}
}

func FuzzVerify(f *testing.F) {
	s := goodSetup(f)
	for _, seed := range seeds(s) {
		f.Add(seed)
	}
	f.Fuzz(checkVerify(s.verifier))
}

func TestMutations(t *testing.T) {
	s := goodSetup(t)
	mutate.Run(t, seeds(s), checkVerify(s.verifier))
}
