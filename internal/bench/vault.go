package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vouchsafe/vouchsafe/attest"
	"github.com/vouchsafe/vouchsafe/attest/virtual"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/broker/envelope"
	"github.com/vouchsafe/vouchsafe/broker/source"
	sourcevault "github.com/vouchsafe/vouchsafe/broker/source/vault"
	"github.com/vouchsafe/vouchsafe/internal/vaulttest"
	"github.com/vouchsafe/vouchsafe/store"
	"github.com/vouchsafe/vouchsafe/store/bolt"
)

// vaultBudget is the most that a release may take, as a multiple of what there is without a broker: a bare read of the same KV secret and the
// verification of the same evidence.
const vaultBudget = 1.25

// inKV is the secret whose value is a field of a KV secret.
const inKV = "bench/in/kv"

// A round has about so many operations, and each client at least a few.
const (
	roundOperations = 96
	leastOfClient   = 4
)

// vaultPart measures releases with a Vault server below the broker, against what they cannot do without.
func (b *bench) vaultPart() section {
	s := section{Title: "A whole release over TLS with a real Vault server, by what clients wait"}
	server, err := vaulttest.Run(vaulttest.WithRaft(""))
	if err != nil {
		s.Note = "not measured: " + err.Error()
		return s
	}
	defer server.Close()
	v := &vaultBench{bench: b, server: server, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	v.mount("bench-kv")
	v.mount("bench-store")
	v.write("bench-kv/data/secret", map[string]any{"data": map[string]any{"password": strings.Repeat("x", 64)}})

	onDisk, inVault := v.broker("vault-disk", ""), v.broker("vault-store", "bench-store")
	defer onDisk.stop()
	defer inVault.stop()
	v.prepareVerification(onDisk)
	s.Rows = append(s.Rows, v.parts(onDisk)...)
	for _, clients := range []int{1, 8, 64} {
		// On a machine that is busy otherwise Vault does not answer in time, and a broker whose store is there refuses.
		err := caught(func() {
			s.Rows = append(s.Rows, v.rows(clients, []*contender{
				{name: "store on disk, secret in Vault KV", broker: onDisk, secret: inKV},
				{name: "store in Vault, secret stored there", broker: inVault, inVault: true, secret: secretName(0)},
				{name: "store in Vault, secret in Vault KV", broker: inVault, inVault: true, secret: inKV},
			})...)
		})
		if err != nil {
			s.Rows = append(s.Rows, row{What: fmt.Sprintf("not measured with %d clients", clients), Note: err.Error()})
		}
	}
	s.Note = "cost: median of what a client waits for a challenge and the release, TLS, policy, record, receipt and signed reply included, its own work not; " +
		"floor: median of a bare KV v2 read by a plain HTTP client and the verification of the same evidence, by as many clients, by turns. " +
		"Vault's storage is raft on disk, without TLS; broker, Vault and clients share the cores; load afterwards: " + loadAverage()
	return s
}

// vaultBench is what the measurements have in common.
type vaultBench struct {
	*bench
	server *vaulttest.Server
	http   *http.Client // of bare requests to Vault
	verify func()       // appraises evidence once, as a broker does
	names  atomic.Int64 // of what was written
}

// request makes a bare request to Vault and returns its answer.
func (v *vaultBench) request(method, path string, body any) (*http.Response, error) {
	request := must(http.NewRequest(method, v.server.Address+"/v1/"+path, bytes.NewReader(must(json.Marshal(body)))))
	if body == nil {
		request.Body, request.ContentLength = http.NoBody, 0
	}
	request.Header.Set("X-Vault-Token", v.server.RootToken)
	return v.http.Do(request)
}

func (v *vaultBench) write(path string, body any) { answered(v.request(http.MethodPost, path, body)) }

// read is the bare read that releases are measured against.
func (v *vaultBench) read() { answered(v.request(http.MethodGet, "bench-kv/data/secret", nil)) }

// mount mounts a KV engine of version 2, and waits until Vault has made it one.
func (v *vaultBench) mount(path string) {
	response := must(v.request(http.MethodPost, "sys/mounts/"+path, map[string]any{"type": "kv", "options": map[string]string{"version": "2"}}))
	response.Body.Close()
	for range 1000 {
		response := must(v.request(http.MethodGet, path+"/config", nil))
		response.Body.Close()
		if response.StatusCode == http.StatusOK {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	check(errors.New("the KV engine of Vault at " + path + " does not get ready"))
}

// broker starts a broker that has both secrets, with its store at a mount or on disk.
func (v *vaultBench) broker(name, mount string) *process {
	setting := must(json.Marshal(inVault{Address: v.server.Address, Token: v.server.RootToken, Mount: mount}))
	p := startWith(filepath.Join(v.dir, name), vaultSetting+"="+string(setting))
	p.prepare()
	must(p.admin.PutSecret(context.Background(), wire.SecretPut{
		SecretName: wire.SecretName{Name: inKV}, Activate: true, Source: &source.Document{
			Kind: sourcevault.KindKV, Parameters: json.RawMessage(`{"mount":"bench-kv","path":"secret","field":"password"}`),
		},
	}))
	return p
}

// prepareVerification makes evidence as guests of a broker make it, and what appraises it as the broker does.
func (v *vaultBench) prepareVerification(p *process) {
	root := must(virtual.ParseRoot(must(os.ReadFile(filepath.Join(p.dir, "virtual-root.pem")))))
	verifier := must(virtual.NewVerifier(root.Certificate()))
	digest := bytes.Repeat([]byte{1}, 48)
	evidence := must(p.device().Evidence(context.Background(), digest))
	v.verify = func() {
		must(verifier.Verify(context.Background(), attest.Input{Evidence: evidence, Binding: attest.BoundTo(digest), Time: time.Now()}))
	}
}

// writesOfRelease is how many writes of Vault a release waits for, one after the other, of a broker whose store is there and who has nobody to share a commit
// with: the spent nonce; the entry in the audit log; the log's head; and the lease and the decision at the same time.
const writesOfRelease = 4

// writeNew is a bare write under a new name.
func (v *vaultBench) writeNew() {
	path := fmt.Sprintf("bench-kv/data/part-%d", v.names.Add(1))
	v.write(path, map[string]any{"data": map[string]any{"value": strings.Repeat("x", 1024)}})
}

// parts measures what releases consist of, one at a time and by turns.
func (v *vaultBench) parts(p *process) []row {
	c := p.callers(1)
	ask := must(json.Marshal(map[string]string{"kind": string(attest.Virtual)}))
	disk := must(bolt.Open(bolt.Config{Path: filepath.Join(v.dir, "part.db"), Purpose: store.Development, Create: true}))
	defer disk.Close()
	n := 0
	parts := []struct {
		name string
		do   func()
	}{
		{"part: an HTTPS request to the broker that does nothing", func() { c.call(http.MethodGet, "/healthz", nil) }},
		{"part: a challenge", func() { c.call(http.MethodPost, "/v1/challenges", ask) }},
		{"part: the verification of the evidence", v.verify},
		{"part: a bare KV v2 read", v.read},
		{"part: a bare KV v2 write of 1 KiB under a new name", v.writeNew},
		{"part: a durable write of 1 KiB to the store on disk", func() {
			n++
			check(disk.Apply(context.Background(), store.Write{Key: fmt.Sprintf("bench/%d", n), Value: make([]byte, 1024)}))
		}},
		{"part: wrapping the secret, signing checkpoint and reply", all(wrapping(envelope.X25519), signP256(), signEd25519())},
	}
	fs := make([]func(), len(parts))
	for i, part := range parts {
		fs[i] = part.do
	}
	rows := make([]row, len(parts))
	for i, median := range byTurns(4*v.time, fs...) {
		rows[i] = row{What: parts[i].name, Cost: median}
	}
	return rows
}

// contender is a broker and a secret whose releases are measured.
type contender struct {
	name    string
	broker  *process
	inVault bool // its store is
	secret  string

	callers           *callers
	whole, challenges load
	processor         time.Duration // of the broker's process, for all releases
}

// rows measures contenders and their floor by turns, with so many clients each.
func (v *vaultBench) rows(clients int, contenders []*contender) []row {
	each := max(leastOfClient, roundOperations/clients)
	for _, c := range contenders {
		c.callers = c.broker.callers(clients)
		c.callers.releases(clients, 2, c.secret) // connections, and what is read once
	}
	var read, floor, written load
	var floorProcessor time.Duration
	bare := func(int, int) { v.read() }
	both := func(int, int) { v.read(); v.verify() }
	durable := func(int, int) {
		v.verify()
		for range writesOfRelease {
			v.writeNew()
		}
	}
	times(clients, 2, both)
	for end := time.Now().Add(time.Duration(4*len(contenders)) * v.time); time.Now().Before(end) || len(floor.waits) == 0; {
		read.add(times(clients, each, bare))
		written.add(times(clients, leastOfClient, durable))
		for _, c := range contenders {
			start := ownProcessor()
			floor.add(times(clients, each, both))
			floorProcessor += ownProcessor() - start
			before, _ := c.broker.used()
			whole, challenges := c.callers.releases(clients, each, c.secret)
			after, _ := c.broker.used()
			c.whole.add(whole)
			c.challenges.add(challenges)
			c.processor += after - before
		}
	}
	suffix := fmt.Sprintf(", %d clients", clients)
	if clients == 1 {
		suffix = ", 1 client"
	}
	rows := []row{
		{What: "bare KV v2 read" + suffix, Cost: read.median(), Note: read.String()},
		{What: "the same and the verification" + suffix, Cost: floor.median(), Note: floor.String()},
		{What: "the verification and four bare KV v2 writes, one after the other" + suffix, Cost: written.median(), Note: written.String()},
	}
	for _, c := range contenders {
		r := against(c.name+suffix, c.whole.median(), floor.median(), vaultBudget)
		processor := c.processor / time.Duration(len(c.whole.waits))
		r.Note = fmt.Sprintf("%s, which is %.2f× less; the challenge %s of it; %s of the broker's processor, %.2f× what the floor takes outside Vault",
			&c.whole, floor.rate()/c.whole.rate(), short(c.challenges.median()), short(processor),
			float64(processor)/float64(floorProcessor/time.Duration(len(floor.waits))))
		if c.inVault {
			r.Note += fmt.Sprintf("; %.2f× the verification and four writes", float64(c.whole.median())/float64(written.median()))
		}
		rows = append(rows, r)
	}
	return rows
}
