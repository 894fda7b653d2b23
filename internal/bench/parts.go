package main

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/snp"
	"github.com/vouchsafe/vouchsafe/broker/audit"
	"github.com/vouchsafe/vouchsafe/broker/data"
	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/internal/vectors"
	"github.com/vouchsafe/vouchsafe/policy"
	"github.com/vouchsafe/vouchsafe/policy/reference"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/seal"
)

// snpPart measures an SNP appraisal of real evidence.
func (b *bench) snpPart() section {
	s := section{Title: "SNP evidence (Genoa, a real report)"}
	text, err := os.ReadFile(filepath.Join(vectors.Folder(), "snp", "genoa-v3-evidence.json"))
	if err != nil {
		s.Note = "not measured: there is no real report here; VOUCHSAFE_VECTORS names the folder that has some"
		return s
	}
	ev := must(snp.Parse(text))
	binary := append(ev.Report.Marshal(), ev.Certificates.Table()...)
	recorded := must(x509.ParseCertificate(ev.Certificates.VCEK)).NotBefore.AddDate(0, 0, 1)
	verifier := func() *snp.Verifier { return must(snp.New(snp.Config{})) }
	for _, form := range []struct {
		name     string
		evidence []byte
	}{{"binary", binary}, {"JSON of KBS guests", text}} {
		in := attest.Input{Evidence: form.evidence, Binding: attest.BoundTo(ev.Report.ReportData[:]), Time: recorded}
		warm := verifier()
		one := func(v *snp.Verifier) { must(v.Verify(context.Background(), in)) }
		p384 := verifyP384()
		t := byTurns(b.time, p384, func() { one(warm) })
		s.Rows = append(s.Rows, against("warm chain, "+form.name, t[1], t[0], 1.15))
		// A chain is known to a verifier once and for all, so each measurement of a cold one needs a new one, made beforehand.
		var times, floors []time.Duration
		rsa := verifyRSA(4096)
		for end := time.Now().Add(b.time); time.Now().Before(end); {
			v := verifier()
			start := time.Now()
			one(v)
			middle := time.Now()
			p384()
			rsa()
			times, floors = append(times, middle.Sub(start)), append(floors, time.Since(middle))
		}
		s.Rows = append(s.Rows, against("cold chain, "+form.name, quantile(times, .5), quantile(floors, .5), 0))
	}
	s.Note = "floor: ECDSA P-384 verification of the report; cold also RSA-4096 of the chip's certificate (the intermediate's link is verified once for all chips)"
	return s
}

// benchRules are what a careful policy asks of an SNP guest.
var benchRules = []string{
	`claims.kind in ["snp", "virtual"]`,
	`claims.measurement in reference("images")`,
	`claims.snp.guest_svn >= 2`,
	`!claims.snp.smt_allowed || claims.snp.platform_smt`,
	`claims.snp.reported_tcb.bootloader >= 9`,
	`claims.snp.signing_key == "vcek" && claims.snp.product in ["Milan", "Genoa", "Turin"]`,
	`has(claims.snp.cpuid_family) && claims.snp.cpuid_family >= 25`,
	`claims.collateral.current && claims.collateral.source != "nowhere"`,
	`claims.report_data.startsWith("00")`,
	`evidence_age < duration("60s") && secret.startsWith("payments/")`,
}

// benchRequest is what the rules are judged on.
func benchRequest() policy.Request {
	value := reference.Value{Value: "6a65", State: reference.Active, AddedBy: "bench", AddedAt: time.Now().Add(-time.Hour)}
	return policy.Request{
		Claims: &attest.Claims{
			Kind: attest.SNP, HardwareRoot: "amd-genoa", Bound: attest.Ptr(true), Measurement: "6a65", ReportData: "00ff",
			Debug: attest.Ptr(false), MigrationAgent: attest.Ptr(false), VMPL: attest.Ptr(0), TCBStatus: "up-to-date",
			Collateral: &attest.CollateralClaims{Current: true, Source: "evidence"},
			SNP: &attest.SNPClaims{
				ReportVersion: 3, Product: "Genoa", SigningKey: "vcek", GuestSVN: 2, CPUIDFamily: attest.Ptr(25),
				ReportedTCB: attest.TCBVersion{Bootloader: 9},
			},
		},
		Secret: "payments/db/password", Time: time.Now(), EvidenceAge: time.Second, References: must(reference.NewSnapshot([]reference.Set{{Name: "images", Values: []reference.Value{value}}})),
	}
}

// benchDocument is a policy of n of the rules.
func benchDocument(n int) []byte {
	var doc strings.Builder
	doc.WriteString("apiVersion: vouchsafe/v1\nkind: ReleasePolicy\nmetadata: {name: bench}\nspec:\n  secrets: [\"payments/db/*\"]\n  require:\n")
	for i := range n {
		fmt.Fprintf(&doc, "    - name: r%d\n      that: |-\n        %s\n", i, benchRules[i%len(benchRules)])
	}
	return []byte(doc.String())
}

func (b *bench) policyPart() section {
	s := section{Title: "A policy, with the baseline and everything that is recorded"}
	for _, n := range []int{1, 10, 100} {
		set, request := benchPolicy(n)
		cost := byTurns(b.time, func() { set.Judge(request) })[0]
		if n == 10 {
			s.Rows = append(s.Rows, within("10 rules", cost, 20*time.Microsecond))
		} else {
			s.Rows = append(s.Rows, row{What: fmt.Sprintf("%d rules", n), Cost: cost})
		}
	}
	return s
}

func (b *bench) envelopePart() section {
	s := section{Title: "Wrapping a secret of 64 bytes", Note: "floor: the key agreement, encapsulation or encryption of the algorithm"}
	for _, kind := range envelope.KeyTypes() {
		key := must(envelope.GenerateKey(kind))
		bound := envelope.Context{Secret: "payments/db/password", Version: 1, PolicyDigest: "sha256:00", Nonce: "n", Decision: "d"}
		t := byTurns(b.time, wrapping(kind), func() { must(key.Recipient().Seal(bound, make([]byte, 64))) })
		s.Rows = append(s.Rows, against(fmt.Sprintf("%s (%s)", kind, key.Recipient().Algorithm()), t[1], t[0], 0))
	}
	return s
}

// auditPart measures durable appends against as many durable writes of the same bytes without a log.
func (b *bench) auditPart() section {
	s := section{Title: "Recording an entry of 1 KiB in the audit log, durably",
		Note: "floor: writing as many bytes to the same kind of store, without a log; by turns"}
	ctx := context.Background()
	bare, logged := b.newData("bare"), b.newData("logged")
	defer bare.Close()
	defer logged.Close()
	entry := make([]byte, 1024)
	var key atomic.Int64
	write := func(int) {
		check(bare.Store.Apply(ctx, store.Write{Key: fmt.Sprintf("bench/%012x", key.Add(1)), Value: entry}))
	}
	record := func(int) { must(logged.Log.Append(ctx, entry)) }
	for _, callers := range []int{1, 64} {
		var times, floors time.Duration
		var count int
		const round = 128
		for end := time.Now().Add(4 * b.time); time.Now().Before(end); count += round {
			floors += together(callers, round, write)
			times += together(callers, round, record)
		}
		r := against(fmt.Sprintf("%d callers, for each entry", callers), times/time.Duration(count), floors/time.Duration(count), 0)
		r.Note = fmt.Sprintf("%.0f entries/s", float64(count)/times.Seconds())
		s.Rows = append(s.Rows, r)
	}
	report := must(audit.Audit(ctx, logged.Log.ReadPath, audit.AuditConfig{
		Origin: logged.Keys.LogSigner().Name(), Verifiers: note.VerifierList(logged.Keys.LogVerifier()),
	}))
	s.Note += fmt.Sprintf("; the log of %d entries verifies", report.Checkpoint.Size)
	return s
}

// together has callers make count calls, and returns how long that took. A call is told which it is: i is the caller i%callers's.
func together(callers, count int, call func(i int)) time.Duration {
	var workers sync.WaitGroup
	var mu sync.Mutex
	var problem any
	start := time.Now()
	for caller := range callers {
		workers.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					mu.Lock()
					problem = p
					mu.Unlock()
				}
			}()
			for i := caller; i < count; i += callers {
				call(i)
			}
		})
	}
	workers.Wait()
	if problem != nil {
		panic(problem)
	}
	return time.Since(start)
}

// newData makes a data directory.
func (b *bench) newData(name string) *data.Data {
	key := must(seal.CreateKeyFile(filepath.Join(b.dir, name+".key"), rand.Reader))
	return must(data.Create(context.Background(), data.Config{
		Dir: filepath.Join(b.dir, name), Purpose: store.Development, Seal: key, Origin: "bench.invalid/" + name,
	}))
}
