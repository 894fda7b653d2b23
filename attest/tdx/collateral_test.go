package tdx

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/eventlog"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap"
	"github.com/vouchsafe/vouchsafe/attest/internal/dcap/dcaptest"
)

// Names of what a quote made here needs.
const (
	nameTCB      = "intel/tcb/tdx/" + dcaptest.FMSPC
	nameIdentity = "intel/identity/tdqe"
	nameList     = "intel/crl/platform"
	nameRoot     = "intel/crl/root"
)

// TestMissingCollateral: any item that is missing makes the evidence unjudged, and all that are missing are asked for at once.
func TestMissingCollateral(t *testing.T) {
	all := []string{nameTCB, nameIdentity, nameList, nameRoot}
	for mask := 1; mask < 1<<len(all); mask++ {
		s := goodSetup(t)
		var missing []string
		for i, name := range all {
			if mask&(1<<i) != 0 {
				delete(s.service.Items, name)
				missing = append(missing, name)
			}
		}
		_, err := s.verify(t, s.quote(4, dcaptest.BodyTD10).Bytes())
		u := wantUnavailable(t, err)
		if !slices.Equal(s.service.Asked, missing) || u.RetryAfter != dcaptest.RetryAfter {
			t.Errorf("asked for %v of %v, to come back after %v", s.service.Asked, missing, u.RetryAfter)
		}
		for _, name := range missing {
			if !strings.Contains(u.What, name) {
				t.Errorf("%q does not name %s", u.What, name)
			}
		}
	}
}

// TestBadEvidenceIsRefusedWithoutCollateral: nobody has anything fetched by a quote that is not one.
func TestBadEvidenceIsRefusedWithoutCollateral(t *testing.T) {
	s := goodSetup(t)
	s.service.Items = nil
	for name, change := range map[string]func([]byte){
		"signature": func(b []byte) { b[dcaptest.HeaderSize+584+4]++ },
		"body":      func(b []byte) { b[dcaptest.HeaderSize+dcaptest.TDMRTD]++ },
	} {
		evidence := s.quote(4, dcaptest.BodyTD10).Bytes()
		change(evidence)
		_, err := s.verify(t, evidence)
		dcaptest.WantCode(t, err, attest.CodeSignature)
		if len(s.service.Asked) > 0 {
			t.Errorf("%s: %v was asked for", name, s.service.Asked)
		}
	}
}

// failing is a store of endorsements that does not work.
type failing struct{ err error }

func (f failing) Endorsement(context.Context, string) (*attest.Endorsement, error) { return nil, f.err }

func TestFailingEndorsements(t *testing.T) {
	s := goodSetup(t)
	evidence := s.quote(4, dcaptest.BodyTD10).Bytes()
	for _, err := range []error{errors.New("disk"), nil, context.Canceled} {
		_, got := dcaptest.Verify(t, verifier(t, failing{err}, dcaptest.Shared().Roots()), evidence, dcaptest.Now)
		wantUnavailable(t, got)
		if err != nil && !errors.Is(got, err) {
			t.Errorf("%v is not the cause of %v", err, got)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.verifier.Verify(ctx, attest.Input{Evidence: evidence, Binding: attest.BoundTo(dcaptest.Binding), Time: dcaptest.Now})
	wantUnavailable(t, err)
}

// TestBadCollateral: what is wrong with collateral is not the evidence's fault, and never makes it good. Each is tried before and after
// good collateral was seen.
func TestBadCollateral(t *testing.T) {
	w, other := dcaptest.Shared(), dcaptest.New()
	tcb := func(edit func(dcaptest.Object)) func(*setup) {
		return func(s *setup) {
			info := dcaptest.TCBInfo(dcap.TDX, "UpToDate")
			edit(info)
			s.service.PutTCB(w, dcap.TDX, s.machine, info)
		}
	}
	identity := func(edit func(dcaptest.Object)) func(*setup) {
		return func(s *setup) {
			o := dcaptest.Identity(dcap.TDX, "UpToDate")
			edit(o)
			s.service.PutIdentity(w, dcap.TDX, o)
		}
	}
	set := func(name string, value any) func(dcaptest.Object) { return func(o dcaptest.Object) { o[name] = value } }
	without := func(name string) func(dcaptest.Object) { return func(o dcaptest.Object) { delete(o, name) } }
	level := func(edit func(level, tcb dcaptest.Object)) func(dcaptest.Object) {
		return func(o dcaptest.Object) {
			l := o["tcbLevels"].([]dcaptest.Object)[0]
			edit(l, l["tcb"].(dcaptest.Object))
		}
	}
	change := func(name string, edit func(data, chain []byte) ([]byte, []byte)) func(*setup) {
		return func(s *setup) {
			item := s.service.Items[name]
			data, chain := edit(bytes.Clone(item.Data), bytes.Clone(item.Chain))
			s.service.Put(name, data, chain)
		}
	}
	data := func(name string, edit func([]byte) []byte) func(*setup) {
		return change(name, func(data, chain []byte) ([]byte, []byte) { return edit(data), chain })
	}
	chain := func(name string, chain []byte) func(*setup) {
		return change(name, func(data, _ []byte) ([]byte, []byte) { return append(data, ' '), chain })
	}
	signed := func(by *dcaptest.Authority, chain ...*dcaptest.Authority) func(*setup) {
		return func(s *setup) {
			foreign := &dcaptest.World{Signer: by}
			s.service.Put(nameTCB, foreign.Sign("tcbInfo", dcaptest.TCBInfo(dcap.TDX, "UpToDate")), dcaptest.PEM(chain...))
		}
	}
	signer := func(name string, edit func(*x509.Certificate)) *dcaptest.Authority {
		return w.Leaf(w.Root, name, 44, edit)
	}
	const signerName = "Intel SGX TCB Signing"
	expired := signer(signerName, func(c *x509.Certificate) { c.NotAfter = dcaptest.Now.Add(-time.Second) })
	early := signer(signerName, func(c *x509.Certificate) { c.NotBefore = dcaptest.Now.Add(time.Second) })
	misnamed := signer("Intel SGX PCK Certificate", nil)
	useless := signer(signerName, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement })
	authority := signer(signerName, func(c *x509.Certificate) { c.IsCA = true; c.KeyUsage |= x509.KeyUsageCertSign })
	below := w.Leaf(w.Platform, signerName, 45, nil)
	next := dcaptest.Now.AddDate(0, 0, 20)
	bad := map[string]func(*setup){
		"of SGX":                  tcb(set("id", "SGX")),
		"of nothing":              tcb(without("id")),
		"version 2":               tcb(set("version", 2)),
		"version 4":               tcb(set("version", 4)),
		"TCB type 1":              tcb(set("tcbType", 1)),
		"another FMSPC":           tcb(set("fmspc", "00906ed50001")),
		"no FMSPC":                tcb(without("fmspc")),
		"long FMSPC":              tcb(set("fmspc", dcaptest.FMSPC+"00")),
		"another PCE":             tcb(set("pceId", "0001")),
		"no PCE":                  tcb(without("pceId")),
		"no next update":          tcb(without("nextUpdate")),
		"next update is no date":  tcb(set("nextUpdate", "tomorrow")),
		"no issue date":           tcb(without("issueDate")),
		"no module":               tcb(without("tdxModule")),
		"module's signer short":   tcb(set("tdxModule", dcaptest.Object{"mrsigner": "00", "attributes": "0000000000000000", "attributesMask": "0000000000000000"})),
		"module twice":            tcb(set("tdxModuleIdentities", []dcaptest.Object{dcaptest.Module("TDX_03", dcaptest.EnclaveLevel(1, "UpToDate")), dcaptest.Module("tdx_03", dcaptest.EnclaveLevel(2, "UpToDate"))})),
		"module misnamed":         tcb(set("tdxModuleIdentities", []dcaptest.Object{dcaptest.Module("TDX03", dcaptest.EnclaveLevel(1, "UpToDate"))})),
		"module of no number":     tcb(set("tdxModuleIdentities", []dcaptest.Object{dcaptest.Module("TDX_0G", dcaptest.EnclaveLevel(1, "UpToDate"))})),
		"module without levels":   tcb(set("tdxModuleIdentities", []dcaptest.Object{dcaptest.Module("TDX_03")})),
		"module's status":         tcb(set("tdxModuleIdentities", []dcaptest.Object{dcaptest.Module("TDX_03", dcaptest.EnclaveLevel(1, "Fine"))})),
		"module's level twice":    tcb(set("tdxModuleIdentities", []dcaptest.Object{dcaptest.Module("TDX_03", dcaptest.EnclaveLevel(1, "UpToDate"), dcaptest.EnclaveLevel(1, "Revoked"))})),
		"no levels":               tcb(set("tcbLevels", []dcaptest.Object{})),
		"levels absent":           tcb(without("tcbLevels")),
		"257 levels":              tcb(set("tcbLevels", slices.Repeat([]dcaptest.Object{dcaptest.Level(dcap.TDX, 5, 13, "UpToDate")}, 257))),
		"a level twice":           tcb(set("tcbLevels", slices.Repeat([]dcaptest.Object{dcaptest.Level(dcap.TDX, 5, 13, "UpToDate")}, 2))),
		"status unknown":          tcb(level(func(l, _ dcaptest.Object) { l["tcbStatus"] = "uptodate" })),
		"status empty":            tcb(level(func(l, _ dcaptest.Object) { l["tcbStatus"] = "" })),
		"status absent":           tcb(level(func(l, _ dcaptest.Object) { delete(l, "tcbStatus") })),
		"a lower level's unknown": tcb(func(o dcaptest.Object) { o["tcbLevels"].([]dcaptest.Object)[2]["tcbStatus"] = "Perfect" }),
		"date absent":             tcb(level(func(l, _ dcaptest.Object) { delete(l, "tcbDate") })),
		"PCESVN absent":           tcb(level(func(_, tcb dcaptest.Object) { delete(tcb, "pcesvn") })),
		"PCESVN over 16 bits":     tcb(level(func(_, tcb dcaptest.Object) { tcb["pcesvn"] = 65536 })),
		"PCESVN negative":         tcb(level(func(_, tcb dcaptest.Object) { tcb["pcesvn"] = -1 })),
		"15 components": tcb(level(func(_, tcb dcaptest.Object) {
			tcb["sgxtcbcomponents"] = tcb["sgxtcbcomponents"].([]dcaptest.Object)[1:]
		})),
		"no TDX components":       tcb(level(func(_, tcb dcaptest.Object) { delete(tcb, "tdxtcbcomponents") })),
		"a component without svn": tcb(level(func(_, tcb dcaptest.Object) { tcb["sgxtcbcomponents"].([]dcaptest.Object)[9] = dcaptest.Object{} })),
		"a component of 256": tcb(level(func(_, tcb dcaptest.Object) {
			tcb["sgxtcbcomponents"].([]dcaptest.Object)[9] = dcaptest.Object{"svn": 256}
		})),
		"a member in capitals":     tcb(set("TCBLevels", []dcaptest.Object{dcaptest.Level(dcap.TDX, 0, 0, "UpToDate")})),
		"signature of other bytes": data(nameTCB, func(b []byte) []byte { return bytes.Replace(b, []byte(`"UpToDate"`), []byte(`"OutOfDate"`), 1) }),
		"white space added":        data(nameTCB, func(b []byte) []byte { return bytes.Replace(b, []byte(`{"tcbInfo":{`), []byte(`{"tcbInfo":{ `), 1) }),
		"a revoked level improved": data(nameTCB, func(b []byte) []byte { return bytes.Replace(b, []byte(`"Revoked"`), []byte(`"UpToDate"`), 1) }),
		"no signature":             data(nameTCB, func(b []byte) []byte { return bytes.Replace(b, []byte(`"signature"`), []byte(`"Signature"`), 1) }),
		"signature short":          data(nameTCB, func(b []byte) []byte { return append(bytes.Clone(b[:len(b)-4]), `"}`...) }),
		"signature of zeros":       data(nameTCB, func(b []byte) []byte { return append(bytes.Clone(b[:len(b)-130]), strings.Repeat("0", 128)+`"}`...) }),
		"TCB info twice":           data(nameTCB, func(b []byte) []byte { return append([]byte(`{"tcbInfo":{},`), b[1:]...) }),
		"something after it":       data(nameTCB, func(b []byte) []byte { return append(b, '{') }),
		"not JSON":                 data(nameTCB, func([]byte) []byte { return []byte("<html>") }),
		"nothing":                  data(nameTCB, func([]byte) []byte { return nil }),
		"over 1 MiB":               data(nameTCB, func(b []byte) []byte { return append(b, bytes.Repeat([]byte(" "), 1<<20)...) }),
		"the identity for it": change(nameTCB, func([]byte, []byte) ([]byte, []byte) {
			return w.Sign("enclaveIdentity", dcaptest.Identity(dcap.TDX, "UpToDate")), dcaptest.PEM(w.Signer, w.Root)
		}),
		"no chain":                      chain(nameTCB, nil),
		"chain of the root":             chain(nameTCB, dcaptest.PEM(w.Root)),
		"chain that is text":            chain(nameTCB, []byte("chain")),
		"signed by another world":       signed(other.Signer, other.Signer, other.Root),
		"signed by the PCK's authority": signed(w.Platform, w.Platform, w.Root),
		"signed by a misnamed":          signed(misnamed, misnamed, w.Root),
		"signed by who may not":         signed(useless, useless, w.Root),
		"signed by an authority":        signed(authority, authority, w.Root),
		"signed below an authority":     signed(below, below, w.Platform, w.Root),
		"signed by an expired":          signed(expired, expired, w.Root),
		"signed by an early":            signed(early, early, w.Root),
		"signer is revoked": func(s *setup) {
			s.service.Put(nameRoot, w.Root.List(next, w.Signer.SerialNumber), nil)
		},

		"identity of the SGX QE":   identity(set("id", "QE")),
		"identity of the QVE":      identity(set("id", "QVE")),
		"identity version 1":       identity(set("version", 1)),
		"identity without update":  identity(without("nextUpdate")),
		"identity without signer":  identity(without("mrsigner")),
		"identity without mask":    identity(without("attributesMask")),
		"identity without product": identity(without("isvprodid")),
		"identity without levels":  identity(without("tcbLevels")),
		"identity, level without":  identity(level(func(_, tcb dcaptest.Object) { delete(tcb, "isvsvn") })),
		"identity, unknown status": identity(level(func(l, _ dcaptest.Object) { l["tcbStatus"] = "TDRelaunchAdvised" })),
		"identity of other bytes":  data(nameIdentity, func(b []byte) []byte { return bytes.Replace(b, []byte(`"isvprodid":2`), []byte(`"isvprodid":1`), 1) }),
		"identity, the TCB info": change(nameIdentity, func([]byte, []byte) ([]byte, []byte) {
			return w.Sign("tcbInfo", dcaptest.TCBInfo(dcap.TDX, "UpToDate")), dcaptest.PEM(w.Signer)
		}),
		"list by another world":     data(nameList, func([]byte) []byte { return other.Platform.List(next) }),
		"list by other authority":   data(nameList, func([]byte) []byte { return w.Processor.List(next) }),
		"list by the root":          data(nameList, func([]byte) []byte { return w.Root.List(next) }),
		"list changed":              data(nameList, func(b []byte) []byte { b[len(b)-1] ^= 1; return b }),
		"list cut off":              data(nameList, func(b []byte) []byte { return b[:len(b)-1] }),
		"list in PEM":               data(nameList, func([]byte) []byte { return []byte("-----BEGIN X509 CRL-----") }),
		"list over 1 MiB":           data(nameList, func(b []byte) []byte { return append(b, make([]byte, 1<<20)...) }),
		"list partial":              data(nameList, func([]byte) []byte { return partialList(t, w.Platform) }),
		"root's list by another":    data(nameRoot, func([]byte) []byte { return other.Root.List(next) }),
		"root's list the authority": data(nameRoot, func([]byte) []byte { return w.Platform.List(next) }),
		"root's list changed":       data(nameRoot, func(b []byte) []byte { b[len(b)-1] ^= 1; return b }),
	}
	for _, name := range slices.Sorted(maps.Keys(bad)) {
		for _, warm := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/warm=%v", name, warm), func(t *testing.T) {
				s := goodSetup(t)
				evidence := s.quote(4, dcaptest.BodyTD10).Bytes()
				if warm {
					if _, err := s.verify(t, evidence); err != nil {
						t.Fatal(err)
					}
				}
				bad[name](s)
				for range 2 {
					_, err := s.verify(t, evidence)
					wantUnavailable(t, err)
				}
			})
		}
	}
}

// partialList is a list by a that covers a part of its certificates only, and says so.
func partialList(tb testing.TB, a *dcaptest.Authority) []byte {
	tb.Helper()
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: dcaptest.Now, NextUpdate: dcaptest.Now.AddDate(0, 1, 0),
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 0}}},
	}, a.Certificate, a.Key)
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

// TestNewerCollateral: members that are not known yet do not matter, an authority may have a new key, and what is newer than the appraisal counts.
func TestNewerCollateral(t *testing.T) {
	w := dcaptest.Shared()
	for name, change := range map[string]func(*setup){
		"TCB info with more": func(s *setup) {
			info := dcaptest.TCBInfo(dcap.TDX, "UpToDate")
			info["more"] = dcaptest.Object{"a": []int{1}}
			s.service.PutTCB(w, dcap.TDX, s.machine, info)
		},
		"an answer with more": func(s *setup) {
			item := s.service.Items[nameTCB]
			s.service.Put(nameTCB, append([]byte(` {"more":1,`), item.Data[1:]...), item.Chain)
		},
		"a signer alone": func(s *setup) {
			s.service.Put(nameTCB, s.service.Items[nameTCB].Data, append(dcaptest.PEM(w.Signer), 0))
		},
		"white space that was signed": func(s *setup) {
			text, err := json.MarshalIndent(dcaptest.TCBInfo(dcap.TDX, "UpToDate"), "", "\t")
			if err != nil {
				t.Fatal(err)
			}
			s.service.Put(nameTCB, w.SignBytes("tcbInfo", text), dcaptest.PEM(w.Signer))
		},
		"a new key of the authority": func(s *setup) {
			renewed := w.Intermediate(w.Root, "Intel SGX PCK Platform CA", 22, nil)
			s.service.Put(nameList, renewed.List(dcaptest.Now.AddDate(0, 0, 9)), dcaptest.PEM(renewed, w.Root))
		},
		"no digest": func(s *setup) {
			for _, item := range s.service.Items {
				item.Digest = [32]byte{}
			}
		},
		"issued tomorrow": func(s *setup) {
			info := dcaptest.TCBInfo(dcap.TDX, "UpToDate")
			info["issueDate"] = dcaptest.Now.AddDate(0, 0, 1)
			s.service.PutTCB(w, dcap.TDX, s.machine, info)
		},
	} {
		s := goodSetup(t)
		change(s)
		claims, err := s.verify(t, s.quote(4, dcaptest.BodyTD10).Bytes())
		if err != nil || claims.TCBStatus != "up-to-date" || !claims.Collateral.Current {
			t.Errorf("%s: %+v, %v", name, claims, err)
		}
	}
	// The new key must be the authority's, and not be revoked.
	s := goodSetup(t)
	renewed := w.Intermediate(w.Root, "Intel SGX PCK Platform CA", 22, nil)
	s.service.Put(nameList, renewed.List(dcaptest.Now.AddDate(0, 0, 9)), dcaptest.PEM(renewed, w.Root))
	s.service.Put(nameRoot, w.Root.List(dcaptest.Now.AddDate(0, 0, 9), renewed.SerialNumber), nil)
	_, err := s.verify(t, s.quote(4, dcaptest.BodyTD10).Bytes())
	wantUnavailable(t, err)
	impostor := dcaptest.New().Platform
	s = goodSetup(t)
	s.service.Put(nameList, impostor.List(dcaptest.Now.AddDate(0, 0, 9)), dcaptest.PEM(impostor, w.Root))
	_, err = s.verify(t, s.quote(4, dcaptest.BodyTD10).Bytes())
	wantUnavailable(t, err)
}

// TestFreshness: each of the four says when its next is due.
func TestFreshness(t *testing.T) {
	w := dcaptest.Shared()
	late := dcaptest.Now.AddDate(0, 0, -3)
	for name, change := range map[string]func(*setup){
		"TCB info": func(s *setup) {
			info := dcaptest.TCBInfo(dcap.TDX, "UpToDate")
			info["nextUpdate"] = late
			s.service.PutTCB(w, dcap.TDX, s.machine, info)
		},
		"identity": func(s *setup) {
			o := dcaptest.Identity(dcap.TDX, "UpToDate")
			o["nextUpdate"] = late
			s.service.PutIdentity(w, dcap.TDX, o)
		},
		"list":        func(s *setup) { s.service.Put(nameList, w.Platform.List(late), nil) },
		"root's list": func(s *setup) { s.service.Put(nameRoot, w.Root.List(late), nil) },
	} {
		for grace, current := range map[time.Duration]bool{0: false, 48 * time.Hour: false, 73 * time.Hour: true} {
			s := goodSetup(t)
			change(s)
			v, err := newVerifier(Config{Endorsements: s.service, Grace: grace}, w.Roots(), eventlog.BootRTMR)
			if err != nil {
				t.Fatal(err)
			}
			claims, err := dcaptest.Verify(t, v, s.quote(4, dcaptest.BodyTD10).Bytes(), dcaptest.Now)
			if err != nil || claims.Collateral.Current != current || !claims.Collateral.Stale || !claims.Collateral.Expires.Equal(late) {
				t.Errorf("%s, grace %v: %+v, %v", name, grace, claims.Collateral, err)
			}
		}
	}
}
