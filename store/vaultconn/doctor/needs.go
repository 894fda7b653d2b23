package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/vouchsafe/vouchsafe/store/seal/transit"
	"github.com/vouchsafe/vouchsafe/store/vaultconn"
	"github.com/vouchsafe/vouchsafe/store/vaultconn/rights"
)

// store looks at the store's mount, and that it forgets what was replaced.
func (e *examination) store(ctx context.Context) {
	s := e.needs.Store
	if s == nil || !e.mount(ctx, s.Mount, "kv", "2", fmt.Sprintf("vault secrets enable -path=%s -version=2 kv", s.Mount)) {
		return
	}
	name, run := "versions "+s.Mount, fmt.Sprintf("vault write %s/config max_versions=1 delete_version_after=0s", s.Mount)
	got, err := e.conn.Do(ctx, vaultconn.Request{Method: http.MethodGet, Path: vaultconn.Mount(s.Mount, "config")})
	var c struct {
		MaxVersions        int64  `json:"max_versions"`
		DeleteVersionAfter string `json:"delete_version_after"`
	}
	if err != nil || got == nil || json.Unmarshal(got.Data, &c) != nil {
		e.add(name, Fail, policyCommand, "the mount's configuration cannot be read: %v", err)
		return
	}
	switch {
	case c.MaxVersions != 1 && s.Create:
		e.add(name, Warn, run, "max_versions is %d; making the store sets it to 1, if nothing else is in the mount", c.MaxVersions)
	case c.MaxVersions != 1:
		e.add(name, Fail, run, "max_versions is %d (0 stands for 10), so that what was replaced stays readable in Vault", c.MaxVersions)
	case c.DeleteVersionAfter != "" && c.DeleteVersionAfter != "0s":
		e.add(name, Fail, run, "delete_version_after is %s: Vault would delete the broker's records", c.DeleteVersionAfter)
	default:
		e.add(name, OK, "", "one is kept of each record")
	}
}

// seal looks at the transit key as the seal does.
func (e *examination) seal(ctx context.Context) {
	k := e.needs.Seal
	if k == nil || !e.mount(ctx, k.Mount, "transit", "", fmt.Sprintf("vault secrets enable -path=%s transit", k.Mount)) {
		return
	}
	name, create := "key "+k.Mount+"/"+k.Key, fmt.Sprintf("vault write -f %s/keys/%s", k.Mount, k.Key)
	s, err := transit.New(transit.Config{Conn: e.conn, Mount: k.Mount, Key: k.Key})
	if err != nil {
		e.add(name, Fail, "", "%v", err)
		return
	}
	key, err := s.Inspect(ctx)
	switch {
	case errors.Is(err, transit.ErrNoKey):
		e.add(name, Fail, create, "there is no such key")
		return
	case err != nil:
		e.add(name, Fail, policyCommand, "it cannot be looked at: %v", err)
		return
	}
	if err := key.Check(); err != nil {
		e.add(name, Fail, create+"-2 type=aes256-gcm96", "%v", err)
		return
	}
	warnings := key.Warnings()
	if len(warnings) == 0 {
		e.add(name, OK, "", "%s, version %d", key.Type, key.LatestVersion)
		return
	}
	run := ""
	if key.DeletionAllowed {
		run = fmt.Sprintf("vault write %s/keys/%s/config deletion_allowed=false", k.Mount, k.Key)
	}
	e.add(name, Warn, run, "%s, version %d; %s", key.Type, key.LatestVersion, strings.Join(warnings, "; "))
}

// sources looks at the mounts of existing secrets. What mount a path that issues belongs to, Vault alone knows.
func (e *examination) sources(ctx context.Context) {
	seen := map[string]bool{}
	if e.needs.Store != nil {
		seen[e.needs.Store.Mount] = true
	}
	for _, k := range e.needs.KV {
		if !seen[k.Mount] {
			seen[k.Mount] = true
			e.mount(ctx, k.Mount, "kv", "2", fmt.Sprintf("vault secrets enable -path=%s -version=2 kv", k.Mount))
		}
	}
}

// example stands for what a "*" at the end of a path covers.
const example = "vouchsafe-doctor"

// rights asks what the token may do at each path that is needed.
func (e *examination) rights(ctx context.Context) {
	needed := e.needs.Rights()
	paths := make([]string, len(needed))
	for i, r := range needed {
		paths[i] = strings.Replace(r.Path, "*", example, 1)
	}
	got, err := e.conn.Do(ctx, vaultconn.Request{Method: http.MethodPost, Path: "sys/capabilities-self", Body: map[string]any{"paths": paths}})
	may := map[string]json.RawMessage{}
	if err != nil || got == nil || json.Unmarshal(got.Data, &may) != nil {
		e.add("rights", Fail, policyCommand, "the token may not ask what it may do: %v", err)
		return
	}
	for i, r := range needed {
		e.right(&r, may[paths[i]])
	}
}

func (e *examination) right(r *rights.Right, answer json.RawMessage) {
	var has, lacks []string
	_ = json.Unmarshal(answer, &has) // none where it is not there
	if !slices.Contains(has, "root") {
		for _, c := range r.Capabilities {
			if !slices.Contains(has, c) {
				lacks = append(lacks, c)
			}
		}
	}
	name := "right " + r.Path
	if len(lacks) > 0 {
		e.add(name, Fail, policyCommand, "lacks %s: %s", strings.Join(lacks, ", "), r.Why)
		return
	}
	e.add(name, OK, "", "%s", strings.Join(r.Capabilities, ", "))
}
