package broker_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/access"
	"github.com/vouchsafe/vouchsafe/broker/brokertest"
	"github.com/vouchsafe/vouchsafe/store"
)

// TestVersions takes a secret through its life and asks for each version at each step.
func TestVersions(t *testing.T) {
	b, g := started(t, brokertest.Config{})
	put := func(value string, activate bool) broker.SecretInfo {
		t.Helper()
		info, err := b.Broker.PutSecret(t.Context(), b.Admin, ns, broker.PutSecret{Name: "a/v", Value: []byte(value), Activate: activate})
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	has := func(version uint64, want string) {
		t.Helper()
		r, _, err := b.AttestAndRelease(t.Context(), g.request(g.nonce()), []broker.Want{{Secret: "a/v", Version: version}})
		if err != nil {
			t.Fatal(err)
		}
		if want == "" {
			if r.Results[0].Outcome != broker.OutcomeNotFound {
				t.Errorf("version %d: %s", version, r.Results[0].Outcome)
			}
			return
		}
		if got := string(g.open(r, 0)); got != want {
			t.Errorf("version %d: %q, want %q", version, got, want)
		}
	}
	has(0, "")
	if info := put("one", false); info.Current != 1 {
		t.Errorf("the first version is not current: %+v", info)
	}
	if info := put("two", false); info.Current != 1 || info.Versions[1].Activated != nil {
		t.Errorf("put activates: %+v", info)
	}
	has(0, "one")
	has(2, "two")
	has(3, "")
	has(1<<63, "")
	if _, err := b.ActivateSecret(t.Context(), b.Admin, ns, "a/v", 2); err != nil {
		t.Fatal(err)
	}
	has(0, "two")
	for name, test := range map[string]struct {
		err  error
		code broker.Code
	}{
		"activate what is not there":  {second(b.ActivateSecret(t.Context(), b.Admin, ns, "a/v", 3)), broker.CodeNotFound},
		"activate nothing":            {second(b.ActivateSecret(t.Context(), b.Admin, ns, "a/v", 0)), broker.CodeNotFound},
		"activate of nothing":         {second(b.ActivateSecret(t.Context(), b.Admin, ns, "a/none", 1)), broker.CodeNotFound},
		"destroy the current one":     {second(b.DestroySecret(t.Context(), b.Admin, ns, "a/v", 2)), broker.CodeConflict},
		"destroy nothing":             {second(b.DestroySecret(t.Context(), b.Admin, ns, "a/v", 0)), broker.CodeNotFound},
		"destroy what is not there":   {second(b.DestroySecret(t.Context(), b.Admin, ns, "a/v", 3)), broker.CodeNotFound},
		"destroy all of nothing":      {second(b.DestroyAll(t.Context(), b.Admin, ns, "a/none")), broker.CodeNotFound},
		"metadata of nothing":         {second(b.Secret(t.Context(), b.Admin, ns, "a/none")), broker.CodeNotFound},
		"metadata of no name":         {second(b.Secret(t.Context(), b.Admin, ns, "")), broker.CodeInvalid},
		"metadata of a folder's name": {second(b.Secret(t.Context(), b.Admin, ns, "a/")), broker.CodeInvalid},
	} {
		if codeOf(test.err) != test.code {
			t.Errorf("%s: %v, want %s", name, test.err, test.code)
		}
	}
	if _, err := b.DestroySecret(t.Context(), b.Admin, ns, "a/v", 1); err != nil {
		t.Fatal(err)
	}
	has(1, "")
	for _, err := range []error{second(b.DestroySecret(t.Context(), b.Admin, ns, "a/v", 1)), second(b.ActivateSecret(t.Context(), b.Admin, ns, "a/v", 1))} {
		wantCode(t, err, broker.CodeNotFound)
	}
	// Encrypted again with another data key, then destroyed.
	if err := b.Data.Store.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Data.Store.Rewrap(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	has(0, "two")
	info, err := b.DestroyAll(t.Context(), b.Admin, ns, "a/v")
	if err != nil || info.Current != 0 || slices.ContainsFunc(info.Versions, func(v broker.SecretVersion) bool { return v.Destroyed == nil }) {
		t.Errorf("%+v, %v", info, err)
	}
	for version := range uint64(4) {
		has(version, "")
	}
	wantCode(t, second(b.DestroyAll(t.Context(), b.Admin, ns, "a/v")), broker.CodeNotFound)
	if info := put("three", false); info.Versions[2].Version != 3 || info.Current != 0 {
		t.Errorf("a number is given twice, or a destroyed secret comes back by itself: %+v", info)
	}
	has(0, "")
	if entries, err := b.Data.Store.List(t.Context(), "default/secret-value/a/v/", "", 10); err != nil || len(entries) != 1 {
		t.Errorf("what was destroyed is still there: %v, %v", entries, err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestVersionsAreBounded(t *testing.T) {
	b, _ := started(t, brokertest.Config{})
	put := func() error {
		return second(b.Broker.PutSecret(t.Context(), b.Admin, ns, broker.PutSecret{Name: "many", Value: []byte("x")}))
	}
	for range broker.MaxVersions {
		if err := put(); err != nil {
			t.Fatal(err)
		}
	}
	wantCode(t, put(), broker.CodeInvalid)
	if _, err := b.DestroySecret(t.Context(), b.Admin, ns, "many", 50); err != nil {
		t.Fatal(err)
	}
	if err := put(); err != nil {
		t.Fatal(err)
	}
	info, err := b.Secret(t.Context(), b.Admin, ns, "many")
	if err != nil || len(info.Versions) != broker.MaxVersions || info.Versions[broker.MaxVersions-1].Version != broker.MaxVersions+1 || info.Current != 1 {
		t.Errorf("%d versions, current %d, %v", len(info.Versions), info.Current, err)
	}
}

func TestWhatIsPutIsChecked(t *testing.T) {
	b, g := started(t, brokertest.Config{})
	many := map[string]string{}
	for i := range broker.MaxLabels + 1 {
		many[fmt.Sprint("label-", i)] = "x"
	}
	for name, put := range map[string]broker.PutSecret{
		"no name":             {},
		"a path":              {Name: "../a"},
		"nine segments":       {Name: "1/2/3/4/5/6/7/8/9"},
		"a byte too many":     {Name: "a/b", Value: make([]byte, broker.MaxSecret+1)},
		"a header's end":      {Name: "a/b", ContentType: "text/plain\r\nX: y"},
		"a long content type": {Name: "a/b", ContentType: strings.Repeat("x", broker.MaxLabel+1)},
		"too many labels":     {Name: "a/b", Labels: many},
		"an empty label":      {Name: "a/b", Labels: map[string]string{"": "x"}},
		"a long label":        {Name: "a/b", Labels: map[string]string{"x": strings.Repeat("x", broker.MaxLabel+1)}},
		"a label's line end":  {Name: "a/b", Labels: map[string]string{"x": "a\nb"}},
	} {
		if err := second(b.Broker.PutSecret(t.Context(), b.Admin, ns, put)); codeOf(err) != broker.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	large := bytes.Repeat([]byte{0xa5}, broker.MaxSecret)
	b.PutSecret("a/large", large)
	if !bytes.Equal(g.mustFetch("a/large"), large) {
		t.Error("the largest secret comes back as another")
	}
	labels := map[string]string{"team": "payments"}
	if _, err := b.Broker.PutSecret(t.Context(), b.Admin, ns, broker.PutSecret{Name: "a/b", Labels: labels}); err != nil {
		t.Fatal(err)
	}
	labels["team"] = "changed by the caller afterwards"
	if info := b.PutSecret("a/b", nil); info.Labels["team"] != "payments" || info.Versions[len(info.Versions)-1].CreatedBy != b.Admin.Name {
		t.Errorf("%+v", info)
	}
}

// TestGenerate checks forms and lengths, and that no character is likelier than another.
func TestGenerate(t *testing.T) {
	b, g := started(t, brokertest.Config{})
	decode := map[string]func(string) ([]byte, error){
		"raw":    func(s string) ([]byte, error) { return []byte(s), nil },
		"hex":    hex.DecodeString,
		"base64": base64.StdEncoding.DecodeString,
		"alphanumeric": func(s string) ([]byte, error) {
			if strings.ContainsFunc(s, func(r rune) bool {
				return !strings.ContainsRune("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", r)
			}) {
				return nil, fmt.Errorf("%q", s)
			}
			return []byte(s), nil
		},
	}
	for encoding, decode := range decode {
		seen := map[string]bool{}
		for _, length := range []int{broker.MinGenerated, 33, broker.MaxGenerated} {
			request := broker.GenerateSecret{Name: "a/" + encoding, Encoding: encoding, Length: length, Activate: true}
			if _, err := b.GenerateSecret(t.Context(), b.Admin, ns, request); err != nil {
				t.Fatal(err)
			}
			value, err := decode(string(g.mustFetch("a/" + encoding)))
			if err != nil || len(value) != length || seen[string(value[:16])] {
				t.Errorf("%s of %d: %d bytes, %v", encoding, length, len(value), err)
			}
			seen[string(value[:16])] = true
		}
	}
	counts := map[byte]int{}
	const rounds = 20
	for range rounds {
		request := broker.GenerateSecret{Name: "a/counted", Encoding: "alphanumeric", Length: broker.MaxGenerated, Activate: true}
		if _, err := b.GenerateSecret(t.Context(), b.Admin, ns, request); err != nil {
			t.Fatal(err)
		}
		for _, c := range g.mustFetch("a/counted") {
			counts[c]++
		}
	}
	// 1321 of each are expected, with a standard deviation of 36; bytes taken modulo 62 would give some 1600.
	for c, n := range counts {
		if n < 1321-8*36 || n > 1321+7*36 {
			t.Errorf("%q comes %d times", c, n)
		}
	}
	for name, request := range map[string]broker.GenerateSecret{
		"short": {Name: "a/x", Encoding: "hex", Length: 15}, "long": {Name: "a/x", Encoding: "hex", Length: 4097},
		"unknown": {Name: "a/x", Encoding: "HEX", Length: 32}, "no name": {Encoding: "hex", Length: 32}, "negative": {Name: "a/x", Encoding: "raw", Length: -1},
	} {
		if err := second(b.GenerateSecret(t.Context(), b.Admin, ns, request)); codeOf(err) != broker.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSecretsAreListedInPages(t *testing.T) {
	b := brokertest.Start(t, brokertest.Config{})
	all := []string{"a", "a-b", "a.b", "a/b", "a/b/c", "a/bc", "a0", "b/x", "b/y", "b/z"}
	for _, name := range all {
		b.PutSecret(name, nil)
	}
	slices.Sort(all)
	for prefix, want := range map[string][]string{
		"": all, "a": {"a", "a-b", "a.b", "a/b", "a/b/c", "a/bc", "a0"}, "a/": {"a/b", "a/b/c", "a/bc"}, "a/b": {"a/b", "a/b/c", "a/bc"},
		"a/b/": {"a/b/c"}, "b/": {"b/x", "b/y", "b/z"}, "b/y": {"b/y"}, "c": nil, "a/b/c/d/": nil, "\x00": nil, "\xff": nil, "~": nil, "../": nil,
	} {
		for _, limit := range []int{0, 1, 2, 3, 1000, -1, 1 << 40} {
			var got []string
			for after, more := "", true; more; {
				page, next, err := b.Secrets(t.Context(), b.Admin, ns, prefix, after, limit)
				if err != nil {
					t.Fatalf("prefix %q: %v", prefix, err)
				}
				if limit > 0 && len(page) > limit {
					t.Errorf("prefix %q: a page of %d", prefix, len(page))
				}
				for _, info := range page {
					got, after = append(got, info.Name), info.Name
				}
				more = next
			}
			if !slices.Equal(got, want) {
				t.Errorf("prefix %q, %d at once: %q, want %q", prefix, limit, got, want)
			}
		}
	}
	if page, more, err := b.Secrets(t.Context(), b.Admin, ns, "a", "zzz", 10); err != nil || more || len(page) != 0 {
		t.Errorf("after the end: %v, %v, %v", page, more, err)
	}
	if page, _, err := b.Secrets(t.Context(), b.Admin, ns, "b/", "a/b", 10); err != nil || len(page) != 3 {
		t.Errorf("after something before the prefix: %v, %v", page, err)
	}
}

// TestConcurrentPutsConflict has writers of one secret know of each other, and every version that was acknowledged be there.
func TestConcurrentPutsConflict(t *testing.T) {
	b, _ := started(t, brokertest.Config{})
	var made atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				switch err := second(b.Broker.PutSecret(t.Context(), b.Admin, ns, broker.PutSecret{Name: "shared"})); codeOf(err) {
				case "":
					made.Add(1)
				case broker.CodeConflict:
				default:
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	info, err := b.Secret(t.Context(), b.Admin, ns, "shared")
	if err != nil || int64(len(info.Versions)) != made.Load() || info.Versions[len(info.Versions)-1].Version != uint64(made.Load()) {
		t.Errorf("%d versions of %d puts, %v", len(info.Versions), made.Load(), err)
	}
}

// TestAValueThatVanishedIsNotAbsent removes a value behind the broker's back.
func TestAValueThatVanishedIsNotAbsent(t *testing.T) {
	b, g := started(t, brokertest.Config{})
	if err := b.Data.Store.Apply(t.Context(), store.Write{Key: "default/secret-value/a/b/1", Version: 1}); err != nil {
		t.Fatal(err)
	}
	_, err := g.fetch("a/b")
	wantCode(t, err, broker.CodeUnavailable)
	wantCode(t, second(b.DestroyAll(t.Context(), b.Admin, ns, "a/b")), broker.CodeUnavailable)
}

// TestRolesOfSecrets gives each role what it may do, and nothing else.
func TestRolesOfSecrets(t *testing.T) {
	b, _ := started(t, brokertest.Config{})
	for _, role := range access.Roles() {
		who := access.Caller{Name: "x", Roles: access.SetOf(role), Namespace: ns}
		writes := role == access.Custodian
		reads := writes || role == access.Author || role == access.Auditor
		for name, test := range map[string]struct {
			err     error
			allowed bool
		}{
			"put":      {second(b.Broker.PutSecret(t.Context(), who, ns, broker.PutSecret{Name: "r/" + role.String()})), writes},
			"generate": {second(b.GenerateSecret(t.Context(), who, ns, broker.GenerateSecret{Name: "g", Length: 16, Encoding: "hex"})), writes},
			"metadata": {second(b.Secret(t.Context(), who, ns, "a/b")), reads},
			"activate": {second(b.ActivateSecret(t.Context(), who, ns, "a/b", 1)), writes},
			"list":     {func() error { _, _, err := b.Secrets(t.Context(), who, ns, "", "", 0); return err }(), reads},
		} {
			if (test.err == nil) != test.allowed || !test.allowed && codeOf(test.err) != broker.CodeForbidden {
				t.Errorf("%s by %s: %v", name, role, test.err)
			}
		}
		elsewhere := access.Caller{Name: "x", Roles: access.SetOf(access.Roles()...), Namespace: "other"}
		for name, err := range map[string]error{
			"put":     second(b.Broker.PutSecret(t.Context(), elsewhere, ns, broker.PutSecret{Name: "x"})),
			"destroy": second(b.DestroyAll(t.Context(), elsewhere, ns, "a/b")),
			"nobody":  second(b.Broker.PutSecret(t.Context(), access.Caller{}, ns, broker.PutSecret{Name: "x"})),
		} {
			if codeOf(err) != broker.CodeForbidden {
				t.Errorf("%s from another namespace: %v", name, err)
			}
		}
	}
}
