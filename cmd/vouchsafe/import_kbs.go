package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vouchsafe/vouchsafe/broker"
	"github.com/vouchsafe/vouchsafe/broker/admin"
	"github.com/vouchsafe/vouchsafe/broker/admin/wire"
	"github.com/vouchsafe/vouchsafe/policy"
	"github.com/vouchsafe/vouchsafe/policy/rego"
)

func (p *program) importCommand() *cobra.Command {
	return group("admin", "import", "Bring over what another key broker holds", p.importKBS())
}

func (p *program) importKBS() *cobra.Command {
	var o importOptions
	c := &cobra.Command{
		Use:   "kbs DIR",
		Short: "Bring over the files of a Confidential Containers key broker",
		Long: `Bring over what a Confidential Containers key broker (Trustee) keeps in files: its repository of resources, its Rego policies and its
reference values. DIR is its folder, such as /opt/confidential-containers; in it are looked for

  kbs/repository/REPOSITORY/TYPE/TAG  resources, which become secrets; or
                                      below repository/
  kbs/policy.rego, or policy.rego     the resource policy
  *.rego below attestation-service    attestation policies, by the name of
                                      the file: default_cpu.rego
  reference_values.json               reference values, in a file or, in
                                      reference_value, a file for each

The command can be run again: what is there already is not written again. A resource is known by a label with the size and time of its file, and one
that the broker has from elsewhere is left alone. Policies are kept as drafts until --activate has them judge. With them comes the release policy
"kbs", also as a draft, by which the resource policy decides within the broker's baseline: read docs/kbs-migration.md before you activate it.

What cannot be brought over is listed with the reason, and makes the exit code 1. Symbolic links are followed within DIR only.`,
		Example: `  vouchsafe import kbs /opt/confidential-containers --dry-run
  vouchsafe import kbs /opt/confidential-containers --activate`,
		Args: cobra.ExactArgs(1),
	}
	c.Flags().BoolVar(&o.dry, "dry-run", false, "say what would be done, and compile the policies, without a change")
	c.Flags().BoolVar(&o.activate, "activate", false, "have the policies judge, which needs the role approver")
	c.Flags().BoolVar(&o.overwrite, "overwrite", false, "add a version to secrets that are there from elsewhere")
	return p.administer(c, func(c *cobra.Command, a *admin.Client, args []string) error {
		root, err := os.OpenRoot(args[0])
		if err != nil {
			return err
		}
		defer root.Close()
		i := &importing{importOptions: o, files: root, broker: a, compiler: rego.NewCompiler(), report: importReport{DryRun: o.dry, Done: []imported{}, Left: []leftOut{}}}
		if err := i.run(c.Context()); err != nil {
			return err
		}
		return p.printImport(&i.report)
	})
}

type importOptions struct{ dry, activate, overwrite bool }

// importReport is what an import did.
type importReport struct {
	DryRun bool       `json:"dry_run"`
	Done   []imported `json:"done"`
	Left   []leftOut  `json:"left"`
}

// imported is one thing that is at the broker now.
type imported struct {
	Kind   string `json:"kind"` // secret, resource-policy, attestation-policy, reference-value, release-policy
	Name   string `json:"name"`
	File   string `json:"file,omitempty"`
	Action string `json:"action"` // written, unchanged, or in a dry run: would be written
	Detail string `json:"detail,omitempty"`
}

// leftOut is one thing that was not brought over.
type leftOut struct {
	File     string           `json:"file"`
	Why      string           `json:"why"`
	Problems []policy.Problem `json:"problems,omitempty"`
}

// importing is one run.
type importing struct {
	importOptions
	files    *os.Root
	broker   *admin.Client
	compiler *rego.Compiler
	report   importReport

	known      map[string]broker.RegoInfo // by kind and id
	references map[string]broker.RegoReference
	values     map[string]wire.RegoReferencePut // to be set
	resource   bool                             // there is a resource policy
}

const (
	// kbsLabel is the label by which a secret says which file it came from.
	kbsLabel = "kbs-import"
	// kbsPolicy is the name of the release policy that lets Rego decide.
	kbsPolicy = "kbs"
	// maxImported bounds the files that are looked at.
	maxImported = 100_000
	// maxReferenceFile bounds a file of reference values, in bytes.
	maxReferenceFile = 2 << 20
)

func (i *importing) done(kind, name, file, action, detail string) {
	if i.dry && action == "written" {
		action = "would be written"
	}
	i.report.Done = append(i.report.Done, imported{kind, name, file, action, detail})
}

func (i *importing) left(file, format string, args ...any) {
	i.report.Left = append(i.report.Left, leftOut{File: file, Why: fmt.Sprintf(format, args...)})
}

// kbsFile says what a file is, by its path.
type kbsFile int

const (
	nothing kbsFile = iota
	resourceFile
	resourcePolicy
	attestationPolicy
	referenceFile
)

// placeOf returns what the file at a path is, and the resource's name or the policy's id.
func placeOf(name string) (kbsFile, string) {
	for _, folder := range []string{"kbs/repository/", "repository/"} {
		if rest, ok := strings.CutPrefix(name, folder); ok {
			return resourceFile, rest
		}
	}
	base := path.Base(name)
	switch {
	case name == "kbs/policy.rego" || name == "policy.rego" || name == "kbs/resource-policy.rego":
		return resourcePolicy, broker.RegoResourceID
	case strings.HasPrefix(name, "attestation-service/") && strings.HasSuffix(name, ".rego"):
		return attestationPolicy, strings.TrimSuffix(base, ".rego")
	case base == "reference_values.json" || base == "reference_value" || slices.Contains(strings.Split(path.Dir(name), "/"), "reference_value"):
		return referenceFile, ""
	}
	return nothing, ""
}

// run brings over references, policies and resources in the order in which they depend on each other.
func (i *importing) run(ctx context.Context) error {
	found := map[kbsFile][]string{}
	n := 0
	err := fs.WalkDir(i.files.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			i.left(name, "it cannot be read: %v", err)
			return nil
		}
		if n++; n > maxImported {
			return fmt.Errorf("there are more than %d files: import parts of them", maxImported)
		}
		if d.IsDir() {
			// The folders by which Kubernetes replaces all files of a volume at once; the files are links into them.
			if strings.HasPrefix(d.Name(), "..") {
				return fs.SkipDir
			}
			return nil
		}
		if d.Type()&fs.ModeSymlink != 0 {
			info, err := i.files.Stat(name)
			switch {
			case strings.HasPrefix(d.Name(), "..") && err == nil && info.IsDir():
				return nil
			case err != nil:
				i.left(name, "it is a link out of the folder, or to nothing")
				return nil
			case info.IsDir():
				i.left(name, "it is a link to a folder")
				return nil
			}
		} else if !d.Type().IsRegular() {
			i.left(name, "it is no file")
			return nil
		}
		kind, _ := placeOf(name)
		found[kind] = append(found[kind], name)
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range found[nothing] {
		i.left(name, "it is not known where it belongs")
	}
	if err := i.look(ctx); err != nil {
		return err
	}
	for _, name := range found[referenceFile] {
		i.referenceFile(name)
	}
	if err := i.putReferences(ctx); err != nil {
		return err
	}
	for _, step := range []struct {
		kind kbsFile
		do   func(context.Context, string) error
	}{{attestationPolicy, i.policy}, {resourcePolicy, i.policy}, {resourceFile, i.resourceFile}} {
		for _, name := range found[step.kind] {
			if err := step.do(ctx, name); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return i.releasePolicy(ctx)
}

// look reads what the broker has.
func (i *importing) look(ctx context.Context) error {
	all, err := i.broker.RegoPolicies(ctx)
	if err != nil {
		return err
	}
	i.known = map[string]broker.RegoInfo{}
	for _, r := range all.Items {
		i.known[string(r.Kind)+"/"+r.ID] = r
	}
	references, err := i.broker.RegoReferences(ctx)
	i.references, i.values = references.Values, map[string]wire.RegoReferencePut{}
	return err
}

// read returns a file of at most so many bytes, or says why not.
func (i *importing) read(name string, most int64) ([]byte, bool) {
	f, err := i.files.Open(name)
	if err != nil {
		i.left(name, "it cannot be read: %v", err)
		return nil, false
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil || !info.Mode().IsRegular():
		i.left(name, "it is no file")
		return nil, false
	case info.Size() > most:
		i.left(name, "it has %d bytes, over %d", info.Size(), most)
		return nil, false
	}
	content, err := readInput(f, "-", most)
	if err != nil {
		i.left(name, "it cannot be read: %v", err)
		return nil, false
	}
	return content, true
}

// policy brings over a Rego policy. It is compiled here first: a dry run says the same as a real one.
func (i *importing) policy(ctx context.Context, name string) error {
	kind, query, label := broker.RegoAttestation, rego.TrustClaims, "attestation-policy"
	where, id := placeOf(name)
	if where == resourcePolicy {
		kind, query, label = broker.RegoResource, rego.Allow, "resource-policy"
		if i.resource {
			i.left(name, "it is a second resource policy: a namespace has one")
			return nil
		}
	}
	source, ok := i.read(name, rego.MaxSource)
	if !ok {
		return nil
	}
	compiled, err := i.compiler.Compile(ctx, path.Base(name), source, query)
	var problems *rego.Problems
	if errors.As(err, &problems) {
		l := leftOut{File: name, Why: "the policy does not compile: " + problems.Error()}
		for _, e := range problems.List {
			l.Problems = append(l.Problems, policy.Problem{Line: e.Line, Column: e.Column, Message: e.Message})
		}
		i.report.Left = append(i.report.Left, l)
		return nil
	}
	if err != nil {
		return err
	}
	i.resource = i.resource || where == resourcePolicy
	detail := "read as Rego " + string(compiled.Syntax())
	if !i.activate {
		detail += ", a draft"
	}
	if old, there := i.known[string(kind)+"/"+id]; there {
		newest := old.Versions[len(old.Versions)-1]
		if newest.Digest == compiled.Digest() && (!i.activate || old.Active == newest.Version) {
			i.done(label, id, name, "unchanged", "")
			return nil
		}
	}
	if !i.dry {
		_, err := i.broker.PutRego(ctx, wire.RegoPut{RegoName: wire.RegoName{Kind: kind, ID: id}, Source: string(source), Draft: !i.activate})
		if i.refused(name, err) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	i.done(label, id, name, "written", detail)
	return nil
}

// refused notes what the broker did not take for what it is; anything else ends the import, which can be run again.
func (i *importing) refused(name string, err error) bool {
	var e *admin.Error
	if !errors.As(err, &e) || e.Code != broker.CodeInvalid {
		return false
	}
	i.report.Left = append(i.report.Left, leftOut{File: name, Why: e.Message, Problems: e.Problems})
	return true
}

// resourceFile brings over a resource.
func (i *importing) resourceFile(ctx context.Context, file string) error {
	_, name := placeOf(file)
	parts := strings.Split(name, "/")
	if len(parts) != 3 {
		i.left(file, "a resource is repository/type/tag, and this has %d parts", len(parts))
		return nil
	}
	if err := policy.CheckPath(name); err != nil {
		i.left(file, "its name cannot be a secret's: %v", err)
		return nil
	}
	info, err := i.files.Stat(file)
	if err != nil {
		i.left(file, "it cannot be read: %v", err)
		return nil
	}
	mark := fmt.Sprintf("%d bytes of %s", info.Size(), info.ModTime().UTC().Format("2006-01-02T15:04:05.999999999Z"))
	old, err := i.broker.Secret(ctx, name)
	var e *admin.Error
	missing := errors.As(err, &e) && e.Code == broker.CodeNotFound
	switch {
	case err != nil && !missing:
		return err
	case err == nil && old.Labels[kbsLabel] == mark:
		i.done("secret", name, file, "unchanged", "")
		return nil
	case err == nil && old.Labels[kbsLabel] == "" && !i.overwrite:
		i.left(file, "the broker has a secret of this name that was not imported: say --overwrite to add a version to it")
		return nil
	}
	value, ok := i.read(file, broker.MaxSecret)
	defer clear(value)
	if !ok {
		return nil
	}
	if !i.dry {
		labels := map[string]string{}
		maps.Copy(labels, old.Labels)
		labels[kbsLabel] = mark
		_, err := i.broker.PutSecret(ctx, wire.SecretPut{SecretName: wire.SecretName{Name: name}, Value: value, Labels: labels, Activate: true})
		if i.refused(file, err) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	i.done("secret", name, file, "written", "")
	return nil
}

// releaseByRego is the release policy that lets the resource policy decide, within the baseline.
const releaseByRego = `apiVersion: vouchsafe/v1
kind: ReleasePolicy
metadata:
  name: ` + kbsPolicy + `
  description: What the Rego resource policy allows, within the baseline
spec:
  secrets: ["*/*/*"]
  rego: required
`

// releasePolicy adds the release policy without which nothing is released, where there is a resource policy for it.
func (i *importing) releasePolicy(ctx context.Context) error {
	if !i.resource {
		return nil
	}
	_, err := i.broker.Policy(ctx, wire.PolicyQuery{PolicyName: wire.PolicyName{Name: kbsPolicy}})
	var e *admin.Error
	switch {
	case err == nil:
		i.done("release-policy", kbsPolicy, "", "unchanged", "it is there")
		return nil
	case !errors.As(err, &e) || e.Code != broker.CodeNotFound:
		return err
	}
	if !i.dry {
		if _, err := i.broker.ApplyPolicy(ctx, wire.PolicyApply{Source: releaseByRego, Filename: kbsPolicy + ".yaml", Draft: true}); err != nil {
			return err
		}
	}
	i.done("release-policy", kbsPolicy, "", "written", "a draft: read it, and activate it")
	return nil
}

// printImport prints a report, and makes what was left out the answer.
func (p *program) printImport(r *importReport) error {
	if p.json() {
		if err := p.printJSON(r); err != nil {
			return err
		}
	} else {
		if err := p.table("KIND NAME ACTION DETAIL", func(row func(...any)) {
			for _, d := range r.Done {
				row(d.Kind, d.Name, d.Action, orDash(d.Detail))
			}
		}); err != nil {
			return err
		}
		for _, l := range r.Left {
			fmt.Fprintf(p.out, "left out: %s: %s\n", l.File, l.Why)
		}
	}
	if len(r.Left) > 0 {
		return silent{exitNo}
	}
	return nil
}
